"""A sweep: a grid of configs, each with several seeds, and what became of them.

    sweep.json                       the grid, its configs, and, at the end, the table
    learning_rate=0.1/seed=0/…       an ordinary run directory for each run
    together/…                       checkpoints of runs that train in one program, until they end
    figures/sweep.png                the final metrics over the grid

Runs that differ in seed and learning rate alone train in one program (`jaxdl.training.population`)
where that is faster; the others one after the other.
"""

from __future__ import annotations

import ast
import itertools
import re
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl import config as cfg
from jaxdl import json_files
from jaxdl.errors import Diverged, UserError, printable, some
from jaxdl.figures import save
from jaxdl.figures.sweep import sweep_figure
from jaxdl.files import Secondary, refuse_links, refuse_special
from jaxdl.progress import Progress
from jaxdl.runs import Run, write_json
from jaxdl.terminal import say
from jaxdl.training.check import check_shapes
from jaxdl.training.experiment import Experiment
from jaxdl.training.population import Population

_SHOWN = 6  # metrics in the printed table; sweep.json has all
_MOST_SEEDS = 100_000  # what a file may ask for; it lists its runs before the first trains
_LONGEST = 60  # characters of a value in a folder's name
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


class Member(NamedTuple):
    """A run of a sweep: its point of the grid, its place below the sweep's folder, its config."""

    point: str
    place: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """What is swept; the content of sweep.json.

    Attributes:
      points: name of each point of the grid, `learning_rate=0.1` -> its config.
      values: name of each point -> key -> value.
      seeds: how many; from the config's seed upwards.
    """

    points: Mapping[str, dict[str, Any]]
    values: Mapping[str, Mapping[str, Any]]
    seeds: int

    @classmethod
    def of(
        cls, read: Callable[[list[str]], dict[str, Any]], overrides: Sequence[str], seeds: int
    ) -> Sweep:
        """From overrides of which some have several values.

        Args:
          read: gives the config of overrides.
          overrides: `key.sub=value` or `key.sub=value,value`.
          seeds: at least 1.

        Raises:
          UserError: there is no such grid, or an override cannot be applied.
        """
        if seeds < 1:
            raise UserError(f"--seeds: expected at least 1, got {seeds}")
        given: dict[str, list[str]] = {}
        for override in overrides:
            key, equals, text = override.partition("=")
            if key in given:
                raise UserError(
                    f"--config.{key}: given twice; write its values as one, separated by commas"
                )
            given[key] = [override] if not equals else alternatives(text, f"--config.{key}")
        axes = [key for key, texts in given.items() if len(texts) > 1]
        if "seed" in axes:
            raise UserError("--config.seed: give the first seed here, and how many with --seeds")
        configs, values = list[dict[str, Any]](), list[dict[str, Any]]()
        for texts in itertools.product(*given.values()):
            config = read([f"{k}={t}" for k, t in zip(given, texts, strict=True)])
            first, value = config.get("seed", 0), {key: _at(config, key) for key in axes}
            if type(first) is not int or not 0 <= first <= 2**32 - seeds:
                raise UserError(f"config.seed: expected 0 to 2³² less --seeds, got {first!r}")
            if value in values:
                twice = ", ".join(f"{key}={value[key]!r}" for key in axes)
                raise UserError(f"the grid holds {twice} twice; give each value once")
            configs.append(config)
            values.append(value)
        names = _names(values)
        return cls(
            dict(zip(names, configs, strict=True)), dict(zip(names, values, strict=True)), seeds
        )

    @property
    def members(self) -> list[Member]:
        """All runs."""
        return [
            Member(point, f"{point}/seed={seed}".lstrip("/"), {**config, "seed": seed})
            for point, config in self.points.items()
            for seed in range(config.get("seed", 0), config.get("seed", 0) + self.seeds)
        ]

    def to_json(self) -> dict[str, Any]:
        """As sweep.json holds it."""
        return {"seeds": self.seeds, "values": self.values, "points": self.points}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Sweep:
        """From sweep.json.

        Raises:
          UserError: it names no such sweep, or a run that is not below the sweep's folder.
        """
        sweep = cls(saved["points"], saved["values"], saved["seeds"])
        fault = None if 1 <= sweep.seeds <= _MOST_SEEDS else f"seeds: {sweep.seeds}"
        for point, config in sweep.points.items():
            first = config.get("seed", 0)
            if type(first) is not int or not 0 <= first <= 2**32 - sweep.seeds:
                fault = fault or f"config.seed {json_files.shown(first)}"
            if point not in sweep.values or point.startswith("/") or ".." in point.split("/"):
                fault = fault or f"point {json_files.shown(point)}"
        if fault or not sweep.points:
            raise UserError(f"sweep.json: no sweep has {fault or 'no points'}; restore it")
        return sweep


@dataclass(frozen=True)
class _Saved(Sweep):
    """What sweep.json holds, as far as it is read again."""

    together: bool | None = None
    diverged: Mapping[str, str] = field(default_factory=dict)


def alternatives(text: str, option: str) -> list[str]:
    """The values that commas separate, save those inside brackets and quotes.

    Raises:
      UserError: a value is empty, or a bracket or quote is not closed.
    """
    found, inside = [""], ""
    for letter in text:
        if inside and letter == inside[-1]:
            inside = inside[:-1]
        elif inside[-1:] in ("'", '"'):
            pass
        elif letter in _BRACKETS:
            inside += _BRACKETS[letter]
        elif letter in "'\"" and (inside or not found[-1].strip()):  # not that of don't
            inside += letter
        elif letter == "," and not inside:
            found.append("")
            continue
        found[-1] += letter
    found = [_unquoted(value.strip()) for value in found]
    if inside:
        raise UserError(f"{option}: {text!r} has no closing {inside[-1]}")
    if len(found) > 1 and "" in found:
        raise UserError(
            f"{option}: {text!r} has an empty value; write v1,v2, and a tuple in brackets, (1, 2)"
        )
    return found


class Sweeper:
    """Runs a sweep in a folder, or what is missing of it.

    Args:
      folder: the sweep's; made if it does not exist.
      sweep: None reads what the folder holds.
      together: train in one program whatever can be (True), nothing (False), or, unless the folder
        says otherwise, what is faster so.
      trust: modules whose code may run when sweep.json names it; see `jaxdl.config.FromRun`.

    Raises:
      UserError: the folder holds something else.
    """

    def __init__(
        self,
        folder: str,
        sweep: Sweep | None,
        together: bool | None = None,
        trust: Collection[str] = (),
    ) -> None:
        self.folder = Path(folder)
        self._file = self.folder / "sweep.json"
        refuse_links(self.folder)
        if sweep is None and not self._file.exists():
            raise UserError(f"--workdir {folder}: holds no sweep (no sweep.json); give --config")
        self.sweep = sweep or Sweep.from_json(cfg.read_json(self._file, _Saved, trust=trust))
        if sweep is not None and self.folder.is_dir():
            self._check_claim(sweep)
        found = cfg.read_json(self._file, _Saved) if self._file.exists() else {}
        self.together = found.get("together") if together is None else together
        self._diverged: dict[str, str] = found.get("diverged", {})  # place of a run -> how

    def run(self, alone: Callable[[dict[str, Any], Run], Any], say: Callable = say) -> None:
        """Train all runs that have no result yet, then tell of all.

        Args:
          alone: trains one run to its end, by the usual loop.
          say: prints a line.

        Raises:
          UserError: anything in a config that cannot be, before anything is trained; or, later,
            what stops a run, other than that it diverges.
          SystemExit: a signal asked to stop; all was saved.
        """
        members = self.sweep.members
        for member in members:
            self._refuse_links(member.place)
        self._run = Run(self.folder)
        with self._run.locked():
            groups = self._groups(say)
            self._write()
            for i, (group, population) in enumerate(groups):
                if population is not None:
                    self._together(i, group, population, say)
                for member in group if population is None else ():
                    self._alone(member, members.index(member), alone, say)
            self._conclude(say)

    def _groups(self, say: Callable) -> list[tuple[list[Member], Population | None]]:
        """The runs in groups that differ in seed and learning rate alone; which train together."""
        alike: dict[str, list[Member]] = {}
        for member in self.sweep.members:
            alike.setdefault(repr(_shared(member.config)), []).append(member)
        groups = list[tuple[list[Member], Population | None]]()
        programs, alone = 0, dict[str, int]()
        for group in alike.values():
            left = [m for m in group if self._missing(m)]
            if not left:
                groups.append((group, None))
                continue
            if not self._half_way:  # nothing is saved of them as a group, so what has ended may go
                group = left
            experiment = Experiment.of(group[0].config)
            check_shapes(experiment)
            population = Population(experiment, [member.config for member in group])
            reason = self._in_turn(population)
            if reason is None:
                programs += 1
            else:
                alone[reason] = alone.get(reason, 0) + len(left)
            groups.append((group, population if reason is None else None))
        total = len(self.sweep.members)
        missing = sum(self._missing(member) for member in self.sweep.members)
        parts = [f"{total - missing} finished before"] if missing < total else []
        if programs:
            number = missing - sum(alone.values())
            parts.append(f"{number} in {_counted(programs, 'program')}")
        parts += [f"{number} in turn ({reason})" for reason, number in alone.items()]
        say(f"{_counted(total, 'run')}: {', '.join(parts)}")
        return groups

    def _in_turn(self, population: Population) -> str | None:
        """Why runs are to train one after the other; None if together."""
        if len(population) == 1:
            return "no other differs in seed and learning rate alone"
        if self.together is False:
            return "as asked"
        if reason := population.obstacle():
            return reason
        return None if self.together else population.slow()

    @property
    def _half_way(self) -> bool:
        """Whether runs that train in one program have begun and not ended."""
        return any((self.folder / "together").glob("*"))

    def _missing(self, member: Member) -> bool:
        run = self.folder / member.place
        return not (run / "result.json").exists() and member.place not in self._diverged

    def _together(self, i: int, group: list[Member], population: Population, say: Callable) -> None:
        experiment = population.experiment
        names = _listed([member.place for member in group])
        say(f"in one program: {names}; what it says of a step is the mean over these")
        progress = Progress(experiment.clock.total, experiment.order.batch_size * len(group))
        runs = [Run(self.folder / member.place) for member in group]
        together = self.folder / "together"
        self._refuse_links(f"together/{i}")
        found = population.train(runs, together / str(i), progress)
        if together.is_dir() and not self._half_way:
            together.rmdir()
        self._diverged |= {group[k].place: reason for k, reason in found.items()}
        self._write()

    def _alone(self, member: Member, i: int, train: Callable, say: Callable) -> None:
        if not self._missing(member):
            return
        say(f"run {i + 1} of {len(self.sweep.members)}: {member.place}")
        run = Run(self.folder / member.place)
        try:
            with run.locked():
                train(member.config, run)
        except Diverged as error:
            say(f"{run.folder} has diverged: {error}")
            self._diverged[member.place] = str(error)
            self._write()

    def _refuse_links(self, place: str) -> None:
        """Refuse a place below the sweep's folder that leads out of it."""
        folder = self.folder
        for part in Path(place).parts:
            folder /= part
            refuse_special(folder)

    def _write(self, **found: Any) -> None:
        self._run.check_held()
        known = {**self.sweep.to_json(), "together": self.together, "diverged": self._diverged}
        write_json(self._file, {**known, **found})

    def _check_claim(self, sweep: Sweep) -> None:
        if (self.folder / "config.json").exists():
            raise UserError(f"--workdir {self.folder}: holds a run, not a sweep; choose another")
        if self._file.exists():
            there = Sweep.from_json(cfg.read_json(self._file, _Saved))
            changes = _differences(there, sweep)
            grown = _holds(sweep, there)
            if changes and grown and self._half_way:
                raise UserError(
                    f"--workdir {self.folder}: some of its runs are half-way in one program; leave "
                    "out --config to resume them, and add others when they have ended"
                )
            if changes and not grown:
                raise UserError(
                    f"--workdir {self.folder}: is another sweep ({some(changes)}); "
                    "choose another --workdir, or leave out --config to resume this sweep as it was"
                )
        elif strangers := sorted({p.name for p in self.folder.iterdir()} - {"lock"}):
            raise UserError(
                f"--workdir {self.folder}: holds {strangers[0]!r} but no sweep.json; choose a new "
                "directory"
            )

    def _conclude(self, say: Callable) -> None:
        """The table, printed and in sweep.json, and the figure."""
        table = [self._row(point) for point in self.sweep.points]
        metrics = list(dict.fromkeys(name for row in table for name in row["metrics"]))
        self._write(table=table)
        for line in printed(table, metrics[:_SHOWN]):
            say(line)
        if len(metrics) > _SHOWN:
            say(f"{len(metrics) - _SHOWN} more metrics are in {self._file}")
        if not metrics:
            raise UserError(f"{self.folder}: every run has diverged; lower the learning rate")
        path = self.folder / "figures" / "sweep.png"
        Secondary("figures")(lambda: save(sweep_figure(table), path))
        say(f"everything is in {self.folder}")

    def _row(self, point: str) -> dict[str, Any]:
        """What became of the runs of a point."""
        places = [member.place for member in self.sweep.members if member.point == point]
        results = [Run(self.folder / p).result() for p in places if p not in self._diverged]
        found = [result["metrics"] for result in results if result]
        metrics = {}
        for name in found[0] if found else ():
            numbers = [f.get(name) for f in found]
            values = np.array([np.nan if x is None else x for x in numbers], float)
            std = float(values.std(ddof=1)) if len(values) > 1 else None
            metrics[name] = {"mean": float(values.mean()), "std": std, "values": values.tolist()}
        return {
            "point": point,
            "values": dict(self.sweep.values[point]),
            "runs": len(found),
            "diverged": len(places) - len(found),
            "metrics": metrics,
        }


def printed(table: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> list[str]:
    """The lines of a table: a row a point, mean ± sample standard deviation over its seeds."""
    rows = [["", "runs", *map(printable, metrics)]]
    for row in table:
        cells = [_cell(row["metrics"].get(name)) for name in metrics]
        bad = f" ({row['diverged']} diverged)" if row["diverged"] else ""
        rows.append([printable(row["point"] or "all"), f"{row['runs']}{bad}", *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [*lines, "mean ± sample standard deviation over seeds; diverged runs are left out"]


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "nan"
    std = "" if found["std"] is None else f" ± {found['std']:.2g}"
    return f"{found['mean']:.4g}{std}"


def _differences(old: Sweep, new: Sweep) -> list[str]:
    """What of another sweep differs: seeds, the grid, or the configs in a point of both."""
    there, here = ({"seeds": s.seeds, "grid": ", ".join(s.points)} for s in (old, new))
    changes = cfg.differences(there, here, "sweep")
    for point in [point for point in old.points if point in new.points][:1]:
        changes += cfg.differences(old.points[point], cfg.plain(new.points[point]))
    return changes


def _holds(new: Sweep, old: Sweep) -> bool:
    """Whether a sweep has all runs of another, and perhaps more."""
    there = {member.place: cfg.plain(member.config) for member in new.members}
    return all(there.get(m.place) == cfg.plain(m.config) for m in old.members)


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """What members of a population must have in common."""
    node = config.get("optimizer")
    rate = node.get("learning_rate") if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or rate is None or isinstance(rate, str | bool):
        return {**config, "seed": None}
    kind = "schedule" if isinstance(rate, Mapping) else "number"
    return {**config, "seed": None, "optimizer": {**node, "learning_rate": kind}}


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def _names(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """A path for each point of the grid, safe on any file system: `depth=2/learning_rate=0.1`."""
    leaves = {key: key.rpartition(".")[2] for key in points[0]}
    titles = {k: v if list(leaves.values()).count(v) == 1 else k for k, v in leaves.items()}
    safe = {key: _safe([point[key] for point in points]) for key in titles}
    return ["/".join(f"{titles[k]}={safe[k][repr(v)]}" for k, v in p.items()) for p in points]


def _safe(values: Sequence[Any]) -> dict[str, str]:
    """Value, as Python writes it -> a part of a file's name; different for different values."""
    texts = {repr(v): re.sub(r"[^\w.+-]+", "_", str(v)).strip("_.")[:_LONGEST] for v in values}
    names = list(texts.values())
    return {
        value: text
        if text and names.count(text) == 1
        else f"{text}_{zlib.crc32(value.encode()):08x}"
        for value, text in texts.items()
    }


def _unquoted(text: str) -> str:
    try:
        value = ast.literal_eval(text) if text[:1] in ("'", '"') else None
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, str) else text


def _listed(names: Sequence[str]) -> str:
    if len(names) <= 4:
        return ", ".join(names)
    return f"{names[0]}, {names[1]}, … {names[-1]}"


def _counted(number: int, noun: str) -> str:
    words = {1: "one"} if noun == "program" else {}
    return f"{words.get(number, number)} {noun}{'s' if number > 1 else ''}"

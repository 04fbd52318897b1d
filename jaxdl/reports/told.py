"""What the files of runs and sweeps say, and how runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl.checkpointing.run_directory import SPEED, Run
from jaxdl.errors import UserError, printable, suggestion
from jaxdl.files import local_run, refuse_links
from jaxdl.sweeps.grid import Sweep
from jaxdl.sweeps.search import SEARCH
from jaxdl.tree import leaves

_SHOWN = 40  # characters of a value in a table
_FACTS = ("step", "seed", "parameters", "wall_seconds")  # of a result


@dataclass(frozen=True)
class Told:
    """A run, as its files tell of it.

    Attributes:
      name: by which it is told from the others.
      run: its directory.
      config: its config.
      data: what data.json says, empty before its first start.
      result: what result.json says; None if it has not finished.
      history: the lines of metrics.jsonl.
    """

    name: str
    run: Run
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    result: Mapping[str, Any] | None
    history: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, folder: Path, name: str) -> Told:
        """The run in a directory.

        Raises:
          UserError: there is none, or a file of it is damaged.
        """
        if not folder.is_dir() or not (folder / "config.json").exists():
            raise UserError(f"{folder}: holds no run (no config.json); name a run's directory")
        run = Run(folder)
        data = cfg.read_json(folder / "data.json") if (folder / "data.json").exists() else {}
        return cls(name, run, run.config(), data, run.result(), run.history())

    @property
    def metrics(self) -> dict[str, float | None]:
        """The final metrics, or, of a run that has not finished, those evaluated last."""
        if self.result is not None:
            return dict(self.result["metrics"])
        evaluated = [line for line in self.history if any("/" in name for name in line)]
        aside = {"step", "seconds", *SPEED}
        return {k: v for k, v in evaluated[-1].items() if k not in aside} if evaluated else {}

    @property
    def step(self) -> int:
        """Number of updates made, as far as is logged."""
        if self.result is not None:
            return int(self.result["step"])
        return int(self.history[-1]["step"]) if self.history else 0

    @property
    def verdict(self) -> str:
        """What is to be said of the number: the target, and whether the run came to its end."""
        result = self.result
        if result is None:
            return f"not finished, at step {self.step:,}"
        said = []
        if target := result["target"]:
            met = "met" if result["met"] else "NOT met"
            said.append(f"target {target['metric']} {target['value']:g}: {met}")
        if stopped := result.get("stopped_early"):
            said.append(f"stopped early at step {stopped['step']:,} of {stopped['of_steps']:,}")
        if cfg.at(self.config, "data.twin"):
            said.append("on a twin of its data, so its numbers mean nothing")
        return "; ".join(said) or "finished"

    def series(self, metric: str) -> tuple[list[int], list[float]]:
        """Steps and values of a metric, as it was logged; empty if it was not."""
        pairs = [(line["step"], line[metric]) for line in self.history if _number(line, metric)]
        return [step for step, _ in pairs], [value for _, value in pairs]


def _number(line: Mapping[str, Any], metric: str) -> bool:
    return line.get(metric) is not None


def runs_of(folders: Sequence[str]) -> list[Told]:
    """The runs in directories; that of a sweep holds one for each point and seed, or trial.

    Raises:
      UserError: a directory holds neither, comes twice, or a file in it is damaged.
    """
    told, seen = list[Told](), set[Path]()
    for folder in map(local_run, folders):
        refuse_links(folder)
        if (folder / "sweep.json").exists():
            sweep = Sweep.from_json(cfg.read_json(folder / "sweep.json"))
            places = [Path(m.place) for m in sweep.members if (folder / m.place).is_dir()]
            if not places:
                raise UserError(f"{folder}: no run of this sweep has begun; run `jaxdl sweep`")
        elif (folder / SEARCH).exists():
            places = [path.parent.relative_to(folder) for path in folder.glob("*/config.json")]
            places.sort(key=lambda place: (len(place.name), place.name))  # trial=9, trial=10
        else:
            places = [Path()]
        for place in places:
            if (folder / place).resolve() in seen:
                raise UserError(f"{folder / place}: is named twice; name it once")
            seen.add((folder / place).resolve())
            told.append(Told.of(folder / place, str(folder / place)))
    return _renamed(told)


def _renamed(told: list[Told]) -> list[Told]:
    """The runs, whose names leave out the folders that all share."""
    parts = [Path(each.name).parts for each in told]
    shared = 0
    while len(told) > 1 and all(len(p) > shared + 1 for p in parts):
        if len({p[shared] for p in parts}) > 1:
            break
        shared += 1
    if len(told) == 1:
        shared = max(0, len(parts[0]) - 1)
    names = ["/".join(p[shared:]) or each.name for p, each in zip(parts, told, strict=True)]
    return [
        Told(name, each.run, each.config, each.data, each.result, each.history)
        for name, each in zip(names, told, strict=True)
    ]


Rows = list[tuple[str, list[str]]]  # of a table: what it is, and a cell for each run
_WIDE = 6  # runs that stand beside one another; of more each has a line


def table(told: Sequence[Told], rows: Rows) -> tuple[list[str], Rows]:
    """The heads and the rows of a table of runs, with a column or, of many, a row for each."""
    names = [each.name for each in told]
    if len(told) <= _WIDE:
        return names, rows
    heads = [name for name, _ in rows]
    return heads, [(name, [cells[i] for _, cells in rows]) for i, name in enumerate(names)]


def differences(told: Sequence[Told]) -> Rows:
    """The keys of the configs that are not alike, and whether the data is."""
    aside = ("logging", "callbacks")  # nobody who is told of a run changes it
    configs = [{k: v for k, v in each.config.items() if k not in aside} for each in told]
    found = [dict(leaves(config)) for config in configs]
    keys = dict.fromkeys(key for each in found for key in each)
    rows = [(key, [shown(each.get(key, _ABSENT)) for each in found]) for key in keys]
    unlike = sorted((key, cells) for key, cells in rows if len({*cells}) > 1)
    digests = [dict(leaves(each.data.get("sha256"))) for each in told]
    for split in dict.fromkeys(name for each in digests for name in each):
        cells = [shown(each.get(split, _ABSENT))[:12] for each in digests]
        if len({*cells}) > 1:
            unlike.append((f"SHA-256 of data {split}".rstrip(), cells))
    return unlike


def results(told: Sequence[Told]) -> Rows:
    """The final numbers, metric by metric, and what else a result says."""
    names = dict.fromkeys(name for each in told for name in each.metrics)
    rows = [(name, [_metric(each.metrics, name) for each in told]) for name in names]
    for fact in _FACTS:
        cells = [shown((each.result or {}).get(fact, _ABSENT)) for each in told]
        rows.append((fact.replace("_", " "), cells))
    return [*rows, ("verdict", [each.verdict for each in told])]


def chosen_metric(told: Sequence[Told], asked: str | None) -> str:
    """The metric to draw: what is asked for, that of a target, or the first that is no loss.

    Raises:
      UserError: a run has not measured it.
    """
    measured = [name for each in told for name in each.metrics]
    wanted = [(each.result or {}).get("target") for each in told]
    targets = [target["metric"] for target in wanted if target]
    plain = [name for name in measured if not name.endswith("/loss")]
    metric = asked or next(iter([*targets, *plain, *measured]), "loss")
    for each in told:
        if not each.series(metric)[0]:
            options = sorted({name for line in each.history for name in line} - {"step", "seconds"})
            raise UserError(
                f"--metric: {each.run.folder} has no {metric!r}; {suggestion(metric, options)}"
            )
    return metric


class _Absent:
    def __repr__(self) -> str:
        return "–"


_ABSENT = _Absent()


def shown(value: Any, most: int = _SHOWN) -> str:
    """A value in a cell."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(value, most)


def _metric(metrics: Mapping[str, float | None], name: str) -> str:
    value = metrics.get(name, _ABSENT)
    return "nan" if value is None else shown(value)

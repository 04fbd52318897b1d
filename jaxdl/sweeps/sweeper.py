"""A sweep in its folder: trains the runs that have no result, and makes a table of all.

    sweep.json                       the grid, its configs, and, at the end, the table
    learning_rate=0.1/seed=0/…       an ordinary run directory for each run
    together/0/runs.json             the runs of one program, until they end
    together/0/checkpoints/…         their states
    figures/sweep.png                the final metrics over the grid

Runs that differ only in seed and learning rate train in one program (`jaxdl.sweeps.population`) if
that is faster, the others one after the other. Several processes, on one machine or many, can run
the same sweep in the same folder: each takes runs that no other has taken (`jaxdl.sweeps.shares`),
and all wait until every run has a result.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import Diverged, UserError, some
from jaxdl.figures import save
from jaxdl.figures.sweep import sweep_figure
from jaxdl.files import Secondary, entries, local_run, refuse_links, refuse_special
from jaxdl.json_files import write_json
from jaxdl.progress import Progress
from jaxdl.sweeps.folds import check_folds
from jaxdl.sweeps.population import Population
from jaxdl.sweeps.population_recorder import train_together
from jaxdl.sweeps.shares import Share, begun, held_alone, take
from jaxdl.sweeps.sweep import Member, Sweep, differences, extends
from jaxdl.sweeps.table import printed, table_row
from jaxdl.terminal import say
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.training.start import train_config

_SHOWN = 6  # metrics in the printed table; sweep.json has all
_GLANCE = 2.0  # seconds between two looks for runs that other processes have left

_Group = tuple[list[Member], Population | None]

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Saved(Sweep):
    """The part of sweep.json that is read again."""

    together: bool | None = None
    diverged: Mapping[str, str] = field(default_factory=dict)


class Sweeper:
    """Runs a sweep in a folder, or the rest of it.

    Args:
      folder: the sweep's; created if it does not exist.
      sweep: None for the one in the folder.
      together: whether runs train in one program: all that can (True), none (False), or by default
        as the folder says, or else where that is faster.
      trust: modules whose code may run when sweep.json names it; see `jaxdl.named_code.FromRun`.
      say: prints a line.

    Raises:
      UserError: the folder holds something else.
    """

    def __init__(
        self,
        folder: str,
        sweep: Sweep | None,
        together: bool | None = None,
        trust: Collection[str] = (),
        say: Say = say,
    ) -> None:
        self.folder, self._trust, self._say = local_run(folder), trust, say
        self._file = self.folder / "sweep.json"
        refuse_links(self.folder)
        if sweep is None and not self._file.exists():
            raise UserError(f"--workdir {folder}: holds no sweep (no sweep.json); give --config")
        saved = cfg.read_json(self._file, _Saved, trust=trust) if self._file.exists() else {}
        self.sweep = sweep or Sweep.from_json(saved)
        self._checked = bool(saved) and not (sweep and differences(Sweep.from_json(saved), sweep))
        if sweep is not None and self.folder.is_dir():
            self._check_claim(sweep)
        self.together = saved.get("together") if together is None else together
        self._diverged: dict[str, str] = saved.get("diverged", {})  # place of a run -> reason

    def run(self) -> None:
        """Train all runs that have no result yet, then print the results of all.

        Raises:
          UserError: before anything is trained, a config is not valid; later, a run fails for any
            other reason than divergence.
          SystemExit: a signal asked to stop; all was saved.
        """
        table: list[dict[str, Any]] | None = None
        told = set[int]()
        while table is None:
            planned = self.sweep
            for member in planned.members:
                self._refuse_links(member.place)
            groups = self._groups()
            self._check_folds()
            with self._updating():
                self._write()
            while missing := self._train_what_is_free(groups):
                if missing not in told:
                    self._say(f"waiting for {_counted(missing, 'run')} of other processes")
                    told.add(missing)
                time.sleep(_GLANCE)
            with self._updating():
                if self.sweep is planned:  # no process has added runs meanwhile
                    table = [
                        table_row(planned, self.folder, point, self._diverged)
                        for point in planned.points
                    ]
                    self._write(table=table)
                    shutil.rmtree(self.folder / "together", ignore_errors=True)
        self._conclude(table)

    def claim(self) -> list[Member]:
        """Write the sweep to its folder, and return the runs that have no result yet."""
        self._check_folds()
        with self._updating():
            self._write()
        return [member for member in self.sweep.members if self._missing(member)]

    def _check_folds(self) -> None:
        if not self._checked:
            check_folds(self.sweep)
        self._checked = True

    @contextmanager
    def _updating(self) -> Iterator[None]:
        """Hold the sweep's lock, with what other processes have written read first."""
        self._run = Run(self.folder)
        with held_alone(self._run, self._say):
            self._read()
            yield

    def _read(self) -> None:
        """Take over diverged and added runs that other processes have noted."""
        if not self._file.exists():
            return
        saved = cfg.read_json(self._file, _Saved, trust=self._trust)
        self._diverged = {**saved.get("diverged", {}), **self._diverged}
        if cfg.differences(_grid(saved), _grid(cfg.plain(self.sweep.to_json()))):
            sweep = Sweep.from_json(saved)
            if not extends(self.sweep, sweep):
                if not extends(sweep, self.sweep):
                    raise UserError(
                        f"--workdir {self.folder}: another process has written a different sweep; "
                        "start again"
                    )
                own = next(iter(self.sweep.points.values()))
                points = {
                    point: cfg.as_own(config, self.sweep.points.get(point, own))
                    for point, config in sweep.points.items()
                }
                self.sweep = replace(sweep, points=points)

    def _groups(self) -> list[_Group]:
        """Groups of runs that differ only in seed and learning rate.

        Groups with a population train together, the others in turn.
        """
        alike: dict[str, list[Member]] = {}
        for member in self.sweep.members:
            alike.setdefault(repr(member.shared), []).append(member)
        groups = list[_Group]()
        together, in_turn = list[int](), Counter[str]()  # how many runs, by program or by reason
        for group in alike.values():
            missing = [member for member in group if self._missing(member)]
            if not missing:
                groups.append((group, None))
                continue
            if not self._half_way:  # no checkpoint holds the whole group, so it may shrink
                group = missing
            experiment = build_experiment(group[0].config)
            check_shapes(experiment)
            population = Population(experiment, [member.config for member in group])
            reason = self._why_in_turn(population)
            if reason is None:
                together.append(len(missing))
            else:
                in_turn[reason] += len(missing)
            groups.append((group, population if reason is None else None))
        total = len(self.sweep.members)
        finished = total - sum(together) - in_turn.total()
        parts = [f"{finished} already finished"] if finished else []
        if together:
            parts.append(f"{sum(together)} in {_counted(len(together), 'program')}")
        parts += [f"{number} in turn ({reason})" for reason, number in in_turn.items()]
        self._say(f"{_counted(total, 'run')}: {', '.join(parts)}")
        return groups

    def _why_in_turn(self, population: Population) -> str | None:
        """Why runs should train one after the other; None if they should train together."""
        if len(population) == 1:
            return "no other differs only in seed and learning rate"
        if self.together is False:
            return "--in-turn"
        if reason := population.obstacle():
            return reason
        return None if self.together else population.slow()

    @property
    def _half_way(self) -> bool:
        """Whether there are unfinished runs in one program."""
        return bool(begun(self.folder))

    def _missing(self, member: Member) -> bool:
        run = self.folder / member.place
        return not (run / "result.json").exists() and member.place not in self._diverged

    def _train_what_is_free(self, groups: Sequence[_Group]) -> int:
        """Train the runs that no other process has taken; returns how many still have no result."""
        for group, population in groups:
            while any(map(self._missing, group)):
                with ExitStack() as held:
                    with self._updating():
                        together = population is not None
                        share = take(self.folder, group, self._missing, together, held)
                    if share is None:
                        break
                    if population is not None and share.program is not None:
                        self._train_together(share, population)
                    else:
                        self._train_alone(share)
        return sum(self._missing(member) for group, _ in groups for member in group)

    def _train_together(self, share: Share, population: Population) -> None:
        """Train locked runs in one program, and note which diverge."""
        members, runs, program = share
        assert program is not None
        names = _listed([member.place for member in members])
        self._say(f"in one program: {names}; losses and metrics below are their means")
        configs = [member.config for member in members]
        first = next(m for m in population.members if m.config == configs[0])
        population = Population(first, configs)
        experiment = population.experiment
        progress = Progress(experiment.clock.total, experiment.order.batch_size * len(members))
        diverged = train_together(population, runs, program, progress)
        with self._updating():
            self._diverged |= {members[k].place: reason for k, reason in diverged.items()}
            self._write()
            shutil.rmtree(program, ignore_errors=True)  # every run has its own checkpoint by now
            if not any(program.parent.glob("*")):
                program.parent.rmdir()

    def _train_alone(self, share: Share) -> None:
        """Train a locked run, and note if it diverges."""
        (member,), (run,), _ = share
        places = [member.place for member in self.sweep.members]
        self._say(f"run {places.index(member.place) + 1} of {len(places)}: {member.place}")
        try:
            train_config(member.config, run)
        except Diverged as error:
            self._say(f"{run.folder} has diverged: {error}")
            with self._updating():
                self._diverged[member.place] = str(error)
                self._write()

    def _refuse_links(self, place: str) -> None:
        """Refuse a path within the sweep's folder that leads out of it."""
        folder = self.folder
        for part in Path(place).parts:
            folder /= part
            refuse_special(folder)

    def _write(self, **more: Any) -> None:
        self._run.check_held()
        state = {**self.sweep.to_json(), "together": self.together, "diverged": self._diverged}
        write_json(self._file, {**state, **more})

    def _check_claim(self, sweep: Sweep) -> None:
        """Check that the folder is empty, or holds this sweep or a part of it."""
        where = f"--workdir {self.folder}"
        if (self.folder / "config.json").exists():
            raise UserError(f"{where}: holds a run, not a sweep; choose another")
        strangers = entries(self.folder) if self.folder.is_dir() else []
        if self._file.exists():  # tested after listing, since other processes write this file first
            saved = Sweep.from_json(cfg.read_json(self._file, _Saved))
            changes = differences(saved, sweep)
            if changes and not extends(sweep, saved):
                raise UserError(
                    f"{where}: holds another sweep ({some(changes)}); choose another --workdir, or "
                    "leave out --config to resume that one"
                )
            if changes and self._half_way:
                raise UserError(
                    f"{where}: some of its runs are half-way in one program; leave out --config to "
                    "finish them, then add others"
                )
        elif strangers:
            raise UserError(
                f"{where}: holds {strangers[0]!r} but no sweep.json; choose a new directory"
            )

    def _conclude(self, table: Sequence[Mapping[str, Any]]) -> None:
        """Print the table, and draw the figure."""
        metrics = list(dict.fromkeys(name for row in table for name in row["metrics"]))
        for line in printed(table, metrics[:_SHOWN], self.sweep.over):
            self._say(line)
        if len(metrics) > _SHOWN:
            self._say(f"{len(metrics) - _SHOWN} more metrics are in {self._file}")
        if not any(row["runs"] for row in table):
            raise UserError(f"{self.folder}: every run has diverged; lower the learning rate")
        if not metrics:
            raise UserError(
                f"{self.folder}: nothing was evaluated, so there is nothing to compare; name a "
                "validation or test split in config.data, or set a fraction to hold out"
            )
        path = self.folder / "figures" / "sweep.png"
        Secondary("figures")(lambda: save(sweep_figure(table), path))
        self._say(f"everything is in {self.folder}")


def _grid(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The part of sweep.json that lists the runs."""
    return {key: saved.get(key) for key in ("seeds", "folds", "values", "points")}


def _listed(names: Sequence[str]) -> str:
    if len(names) <= 4:
        return ", ".join(names)
    return f"{names[0]}, {names[1]}, … {names[-1]}"


def _counted(number: int, noun: str) -> str:
    words = {1: "one"} if noun == "program" else {}
    return f"{words.get(number, number)} {noun}{'s' if number > 1 else ''}"

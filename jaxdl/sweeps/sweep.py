"""A sweep in its folder: what is missing of it is trained, and a table made of all.

    sweep.json                       the grid, its configs, and, at the end, the table
    learning_rate=0.1/seed=0/…       an ordinary run directory for each run
    together/…                       checkpoints of runs that train in one program, until they end
    figures/sweep.png                the final metrics over the grid

Runs that differ in seed and learning rate alone train in one program (`jaxdl.sweeps.population`)
where that is faster; the others one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import Diverged, UserError, some
from jaxdl.figures import save
from jaxdl.figures.sweep import sweep_figure
from jaxdl.files import Secondary, local, refuse_links, refuse_special
from jaxdl.json_files import write_json
from jaxdl.progress import Progress
from jaxdl.sweeps.grid import Member, Sweep, differences, extends
from jaxdl.sweeps.population import Population
from jaxdl.sweeps.report import printed, table_row
from jaxdl.terminal import say
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.training.start import train_run

_SHOWN = 6  # metrics in the printed table; sweep.json has all

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Saved(Sweep):
    """What sweep.json holds, as far as it is read again."""

    together: bool | None = None
    diverged: Mapping[str, str] = field(default_factory=dict)


class Sweeper:
    """Runs a sweep in a folder, or what is missing of it.

    Args:
      folder: of the sweep; made if it does not exist.
      sweep: None for the one that the folder holds.
      together: train all runs that can in one program (True), none (False), or, by default, as the
        folder says, or else where it is faster.
      trust: modules whose code may run when sweep.json names it; see `jaxdl.named_code.FromRun`.

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
        self.folder = local(folder)
        self._file = self.folder / "sweep.json"
        refuse_links(self.folder)
        if sweep is None and not self._file.exists():
            raise UserError(f"--workdir {folder}: holds no sweep (no sweep.json); give --config")
        saved = cfg.read_json(self._file, _Saved, trust=trust) if self._file.exists() else {}
        self.sweep = sweep or Sweep.from_json(saved)
        if sweep is not None and self.folder.is_dir():
            self._check_claim(sweep)
        self.together = saved.get("together") if together is None else together
        self._diverged: dict[str, str] = saved.get("diverged", {})  # place of a run -> reason

    def run(self, say: Say = say) -> None:
        """Train all runs that have no result yet, then print the results of all.

        Args:
          say: prints a line.

        Raises:
          UserError: before anything is trained, a config is not valid; later, whatever else than
            divergence stops a run.
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
                    self._train_together(i, group, population, say)
                for member in group if population is None else ():
                    self._train_alone(member, members.index(member), say)
            self._conclude(say)

    def _groups(self, say: Say) -> list[tuple[list[Member], Population | None]]:
        """Groups of runs that differ in seed and learning rate alone.

        Those with a population train together, the others in turn.
        """
        alike: dict[str, list[Member]] = {}
        for member in self.sweep.members:
            alike.setdefault(repr(member.shared), []).append(member)
        groups = list[tuple[list[Member], Population | None]]()
        together, in_turn = list[int](), Counter[str]()  # how many runs, by program or by reason
        for group in alike.values():
            missing = [member for member in group if self._missing(member)]
            if not missing:
                groups.append((group, None))
                continue
            if not self._half_way:  # no checkpoint is of the whole group, so it may shrink
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
        parts = [f"{finished} finished before"] if finished else []
        if together:
            parts.append(f"{sum(together)} in {_counted(len(together), 'program')}")
        parts += [f"{number} in turn ({reason})" for reason, number in in_turn.items()]
        say(f"{_counted(total, 'run')}: {', '.join(parts)}")
        return groups

    def _why_in_turn(self, population: Population) -> str | None:
        """Why runs should train one after the other; None if together."""
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

    def _train_together(
        self, i: int, group: list[Member], population: Population, say: Say
    ) -> None:
        experiment = population.experiment
        names = _listed([member.place for member in group])
        say(f"in one program: {names}; losses and metrics of a step are their means")
        progress = Progress(experiment.clock.total, experiment.order.batch_size * len(group))
        runs = [Run(self.folder / member.place) for member in group]
        together = self.folder / "together"
        self._refuse_links(f"together/{i}")
        diverged = population.train(runs, together / str(i), progress)
        if together.is_dir() and not self._half_way:
            together.rmdir()
        self._diverged |= {group[k].place: reason for k, reason in diverged.items()}
        self._write()

    def _train_alone(self, member: Member, i: int, say: Say) -> None:
        if not self._missing(member):
            return
        say(f"run {i + 1} of {len(self.sweep.members)}: {member.place}")
        run = Run(self.folder / member.place)
        try:
            with run.locked():
                train_run(member.config, run)
        except Diverged as error:
            say(f"{run.folder} has diverged: {error}")
            self._diverged[member.place] = str(error)
            self._write()

    def _refuse_links(self, place: str) -> None:
        """Refuse a path below the sweep's folder that leads out of it."""
        folder = self.folder
        for part in Path(place).parts:
            folder /= part
            refuse_special(folder)

    def _write(self, **more: Any) -> None:
        self._run.check_held()
        state = {**self.sweep.to_json(), "together": self.together, "diverged": self._diverged}
        write_json(self._file, {**state, **more})

    def _check_claim(self, sweep: Sweep) -> None:
        """Check that the folder is new, or holds this sweep or a part of it."""
        where = f"--workdir {self.folder}"
        if (self.folder / "config.json").exists():
            raise UserError(f"{where}: holds a run, not a sweep; choose another")
        if self._file.exists():
            saved = Sweep.from_json(cfg.read_json(self._file, _Saved))
            changes = differences(saved, sweep)
            if changes and not extends(sweep, saved):
                raise UserError(
                    f"{where}: is another sweep ({some(changes)}); choose another --workdir, or "
                    "leave out --config to resume this sweep as it was"
                )
            if changes and self._half_way:
                raise UserError(
                    f"{where}: some of its runs are half-way in one program; leave out --config to "
                    "resume them, and add others when they have ended"
                )
        elif strangers := sorted({p.name for p in self.folder.iterdir()} - {"lock"}):
            raise UserError(
                f"{where}: holds {strangers[0]!r} but no sweep.json; choose a new directory"
            )

    def _conclude(self, say: Say) -> None:
        """Print the table, write it to sweep.json, and draw the figure."""
        points = self.sweep.points
        table = [table_row(self.sweep, self.folder, point, self._diverged) for point in points]
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


def _listed(names: Sequence[str]) -> str:
    if len(names) <= 4:
        return ", ".join(names)
    return f"{names[0]}, {names[1]}, … {names[-1]}"


def _counted(number: int, noun: str) -> str:
    words = {1: "one"} if noun == "program" else {}
    return f"{words.get(number, number)} {noun}{'s' if number > 1 else ''}"

"""A search with Optuna: its samplers choose settings, and each trial is an ordinary run.

    search.json, figures/search.png   see `jaxdl.sweeps.search`
    trial=7/…                         the run directory of a trial
    study/journal.log                 the study, unless --storage says otherwise

Several processes, on one machine or many, search together by running the same command: they share
the study and the folder. As in a grid, the process that trains a run holds the lock of its
directory, and loses it when it dies. So if Optuna counts a trial as running but nobody holds its
lock, the next process that looks resumes it, from its checkpoint and under its own number. Optuna's
heartbeats, and trials repeated under new numbers, are not needed. New trials are drawn under the
lock of the folder, so that all processes together train as many as were asked for.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import Diverged, UserError, reason
from jaxdl.files import Secondary, refuse_special
from jaxdl.sweeps import search as searches
from jaxdl.sweeps.draws import Draw, Setting, shown
from jaxdl.sweeps.population import member_of
from jaxdl.sweeps.search import Search
from jaxdl.sweeps.shares import held_alone, locked
from jaxdl.terminal import say
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.training.start import train_config

_GLANCE = 2.0  # seconds between two looks for trials that other processes have left

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler"}  # our name -> Optuna's


class _Taken(NamedTuple):
    """A trial that this process trains: its number, setting and directory, which is locked."""

    number: int
    setting: Setting
    run: Run


def import_optuna() -> Any:
    """The module `optuna`.

    Raises:
      UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UserError(
            "--trials: Optuna is not installed; pip install -e '.[optuna]' in the checkout"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def run_trials(folder: Path, search: Search, say: Callable[[str], None] = say) -> None:
    """Train trials in a folder until there are as many as asked for, and print the best.

    Raises:
      UserError: before anything is trained, a setting is not valid, or the study cannot be reached;
        later, a run fails for any other reason than divergence.
      SystemExit: a signal asked to stop; all was saved.
    """
    Trials(folder, search, say).run()


class Trials:
    """Trains the trials of a study in a folder.

    Args:
      folder: the search's; created if it does not exist.
      search: the search.
      say: prints a line.

    Raises:
      UserError: Optuna is not installed, or a setting is not valid.
    """

    def __init__(self, folder: Path, search: Search, say: Callable[[str], None]) -> None:
        self.folder, self.search, self._say = folder, search, say
        self._optuna = import_optuna()
        self._draws = search.ranges
        if search.size < 1:
            raise UserError(f"--trials: expected at least 1, got {search.size}")
        _check_corners(search)
        self._distributions = {draw.key: self._distribution(draw) for draw in self._draws}

    def run(self) -> None:
        """Train missing trials, wait for those of other processes, and print the best."""
        run, told = Run(self.folder), False
        with held_alone(run, self._say):
            self.search = self._merged(self.search)
            study = self._study()  # first, so that a storage that fails leaves no search.json
            searches.write(run, self.search)
        while True:
            with ExitStack() as held:
                with held_alone(Run(self.folder), self._say):
                    taken, waiting = self._take(study, held)
                if taken is not None:
                    self._train(study, taken)
                    continue
            if not waiting:
                break
            if not told:
                self._say(f"waiting for {waiting} trial{'s' * (waiting > 1)} of other processes")
                told = True
            time.sleep(_GLANCE)
        self._conclude(study)

    def _merged(self, search: Search) -> Search:
        """The search with the identity, and added trials, that other processes have written."""
        if not (self.folder / searches.SEARCH).exists():
            return search
        held = searches.read(self.folder)
        return replace(search, identity=held.identity, size=max(held.size, search.size))

    # ---- The study

    def _study(self) -> Any:
        """The study of this folder, created if it does not exist.

        Raises:
          UserError: the storage cannot be reached, or its study of this name belongs to another
            folder.
        """
        name = self.folder.absolute().name
        direction = "minimize" if self.search.objective.smaller else "maximize"
        with self._reached():
            study = self._optuna.create_study(
                study_name=name, storage=self._storage(), direction=direction, load_if_exists=True
            )
            owner = study.user_attrs.get("jaxdl")
            if owner is None and not study.get_trials(deepcopy=False):
                study.set_user_attr("jaxdl", self.search.identity)
                owner = self.search.identity
        if owner != self.search.identity:
            raise UserError(
                f"--storage {self.search.storage}: its study {name!r} belongs to another folder; "
                "give --workdir another name"
            )
        return study

    def _storage(self) -> Any:
        if self.search.storage is not None:
            return self.search.storage
        path = self.folder / "study" / "journal.log"
        path.parent.mkdir(exist_ok=True)
        for part in (path.parent, path):
            refuse_special(part)
        backends = self._optuna.storages.journal
        lock = backends.JournalFileOpenLock(
            str(path)
        )  # Optuna's other lock makes links, which the folder must not have
        return self._optuna.storages.JournalStorage(
            backends.JournalFileBackend(str(path), lock_obj=lock)
        )

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """While entered, any error is reported as one of the storage."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
                yield
        except UserError:
            raise
        except Exception as error:  # Optuna, SQLAlchemy and drivers raise their own types
            where = self.search.storage or self.folder / "study"
            raise UserError(
                f"--storage {where}: cannot be used ({reason(error.__cause__ or error, 200)}); "
                "give an SQLAlchemy URL, such as sqlite:///study.db"
            ) from None

    def _distribution(self, draw: Draw) -> Any:
        kinds = self._optuna.distributions
        if draw.choices:
            return kinds.CategoricalDistribution(draw.choices)
        if draw.whole:
            return kinds.IntDistribution(int(draw.low), int(draw.high), log=draw.log)
        return kinds.FloatDistribution(float(draw.low), float(draw.high), log=draw.log)

    def _sampler(self, number: int) -> Any:
        """The sampler for a trial: its draw depends on the seed and on earlier trials."""
        # A single seed would draw the same again in each process, and after each resume.
        entropy = [self.search.config.get("seed", 0), number]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        return getattr(self._optuna.samplers, SAMPLERS[self.search.sampler])(seed=seed)

    # ---- Trials

    def _take(self, study: Any, held: ExitStack) -> tuple[_Taken | None, int]:
        """A free or a new trial, locked, if there is one; and how many others are training.

        The caller holds the lock of the folder.
        """
        states = self._optuna.trial.TrialState
        with self._reached():
            trials = study.get_trials(deepcopy=False)
        begun = [trial for trial in trials if trial.state == states.RUNNING]
        for trial in begun:
            if not self._distributions.keys() <= trial.params.keys():  # killed while it was drawn
                study.tell(trial.number, state=states.FAIL)
                continue
            if run := locked(self._run(trial.number), held):
                self._say(f"resuming {run.folder.name}")
                return _Taken(trial.number, dict(trial.params), run), 0
        counted = [t for t in trials if t.state not in (states.FAIL, states.WAITING)]
        if len(counted) >= self.search.size:
            return None, len(begun)
        with self._reached():
            study.sampler = self._sampler(len(trials))
            trial = study.ask(self._distributions)
        run = locked(self._run(trial.number), held)
        if run is None:
            raise UserError(f"{self._place(trial.number)}: is locked by another process")
        return _Taken(trial.number, dict(trial.params), run), 0

    def _place(self, number: int) -> Path:
        return self.folder / f"trial={number}"

    def _run(self, number: int) -> Run:
        refuse_special(self._place(number))
        return Run(self._place(number))

    def _train(self, study: Any, taken: _Taken) -> None:
        """Train a locked trial, and report its value or its divergence to the study."""
        number, setting, run = taken
        states, metric = self._optuna.trial.TrialState, self.search.objective.metric
        self._say(f"trial {number + 1} of {self.search.size}: {shown(setting)}")
        try:
            result = train_config(self.search.with_setting(setting), run)
        except Diverged as error:
            # A pruned trial counts as worse than any other; a failed one would be ignored.
            self._say(f"{run.folder} has diverged: {error}")
            self._tell(study, number, state=states.PRUNED)
            return
        except UserError:
            self._tell(study, number, state=states.FAIL)
            raise
        value = result["metrics"][metric]
        if value is None:
            self._tell(study, number, state=states.PRUNED)
        else:
            self._tell(study, number, values=value)

    def _tell(self, study: Any, number: int, **what: Any) -> None:
        with self._reached():
            study.tell(number, **what, skip_if_finished=True)

    # ---- End

    def _conclude(self, study: Any) -> None:
        """Save and print the best trial, and draw all."""
        states = self._optuna.trial.TrialState
        with self._reached():
            trials = study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))
        complete = [trial for trial in trials if trial.state == states.COMPLETE]
        if not complete:
            raise UserError(f"{self.folder}: every trial has diverged; draw lower learning rates")
        objective = self.search.objective
        best = min(complete, key=lambda t: t.value if objective.smaller else -t.value)
        result = Run(self._place(best.number)).result()
        assert result is not None
        found = {"member": best.number, "setting": dict(best.params)}
        found |= {"place": self._place(best.number).name, "metrics": result["metrics"]}
        run = Run(self.folder)
        with held_alone(run, self._say):
            self.search = self._merged(replace(self.search, best=found))
            searches.write(run, self.search)
        lines = [_line(trial) for trial in trials]
        Secondary("figures")(searches.write_figure, self.search, lines, self.folder)
        diverged = len(trials) - len(complete)
        if diverged:
            self._say(f"{diverged} of {len(trials)} trials have diverged")
        for line in searches.concluded(self.search, self.folder, len(trials)):
            self._say(line)


def _line(trial: Any) -> Mapping[str, Any]:
    """A trial as `search_figure` takes it."""
    return {
        "member": trial.number,
        "setting": dict(trial.params),
        "step": 0,
        "metric": trial.value,
        "decision": "finished" if trial.value is not None else "diverged",
    }


def _check_corners(search: Search) -> None:
    """Refuse draws with an invalid end or choice, and an objective that is not measured.

    Raises:
      UserError: the message names the draw.
    """
    base = build_experiment(search.config)
    searches.check_objective(search, base, check_shapes(base))
    for draw, config in search.corners():
        with searches.blamed_on(draw):
            if draw.key.startswith(("optimizer.", "task.")):
                member_of(base, config)  # without reading the data again
            else:
                check_shapes(build_experiment(config))

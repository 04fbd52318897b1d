"""A search for a good setting: its draws, its objective, and its folder.

    search.json              the search and, at the end, the best setting
    figures/search.png       every setting that was tried, with its value

`jaxdl.sweeps.halving` searches in one program, `jaxdl.sweeps.trials` with Optuna's samplers.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl.checkpointing import renamed
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError, some
from jaxdl.figures import save
from jaxdl.figures.search import search_figure
from jaxdl.files import entries, local_run, refuse_links
from jaxdl.json_files import write_json
from jaxdl.sweeps.draws import Draw, Setting, drawn, shown, texts_of
from jaxdl.training.build import overridden, resolved
from jaxdl.training.experiment import Experiment
from jaxdl.training.settings import Best

SEARCH = "search.json"
_LOSS = Best("validation/loss", smaller=True)


@dataclass(frozen=True)
class Search:
    """A search: the content of search.json.

    Attributes:
      how: 'halving' or 'trials'.
      config: resolved, with the overrides that all settings share.
      draws: the values of `--draw`.
      size: members of the population, or trials.
      file: the value of `--config`.
      overrides: each `key=value`, without `--config.`.
      eta: for halving; one member in so many continues.
      budget: for halving, in whole runs.
      storage: for trials, Optuna's URL; None for a file in the folder.
      sampler: for trials, Optuna's sampler.
      identity: distinguishes this folder from others in the same storage.
      best: at the end, the best setting and its metrics.
    """

    how: str
    config: dict[str, Any]
    draws: tuple[str, ...]
    size: int
    file: str
    overrides: tuple[str, ...]
    eta: int = 3
    budget: float = 0.0
    storage: str | None = None
    sampler: str = "tpe"
    identity: str = field(default_factory=lambda: secrets.token_hex(8))
    best: dict[str, Any] | None = None

    @property
    def ranges(self) -> list[Draw]:
        """The draws, parsed.

        Raises:
          UserError: there are none, one cannot be read, or a key is drawn twice.
        """
        if not self.draws:
            raise UserError(
                f"--{self.how}: nothing to search; give --draw KEY=low:high, such as "
                "--draw optimizer.learning_rate.peak=log:1e-4:1e-1"
            )
        ranges = [Draw.of(given, self.config) for given in self.draws]
        for i, draw in enumerate(ranges):
            if draw.key in [other.key for other in ranges[:i]]:
                raise UserError(f"--draw {draw.given}: {draw.key} is drawn twice; draw it once")
        return ranges

    @property
    def objective(self) -> Best:
        """The metric that settings are compared by: `config.training.best`, or validation/loss.

        Raises:
          UserError: it is not a metric of the validation split.
        """
        node = cfg.at(self.config, "training.best")
        best = Best(**node) if node else _LOSS
        if not best.metric.startswith("validation/"):
            raise UserError(
                f"config.training.best.metric: {best.metric!r} cannot choose settings, as only the "
                "validation split may; name a metric of that split"
            )
        return best

    def setting(self, member: int) -> Setting:
        """The setting drawn for a member, from the config's seed and its number alone."""
        return drawn(self.ranges, self.config.get("seed", 0), member)

    def with_setting(self, setting: Setting) -> dict[str, Any]:
        """The config with a setting.

        Raises:
          UserError: a value is not valid for its key.
        """
        return overridden(self.config, texts_of(setting))

    def corners(self) -> list[tuple[Draw, dict[str, Any]]]:
        """For each end or choice of each draw, the config in which only that key is changed.

        Raises:
          UserError: a value is not valid for its key; the message names the draw.
        """
        corners = []
        for draw in self.ranges:
            for end in draw.ends():
                with blamed_on(draw):
                    corners.append((draw, self.with_setting({draw.key: end})))
        return corners

    def command(self, setting: Setting, workdir: Path) -> str:
        """The shell command that trains a setting by itself."""
        own = set(setting)
        given = [text for text in self.overrides if text.partition("=")[0] not in own]
        words = [f"--config.{text}" for text in (*given, *texts_of(setting))]
        return shlex.join(
            ["jaxdl", "train", "--config", self.file, *words, "--workdir", f"{workdir}-best"]
        )


@contextlib.contextmanager
def blamed_on(draw: Draw) -> Iterator[None]:
    """While entered, a user's error is prefixed with the draw that caused it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"--draw {draw.given}: {error}") from None


def claimed(folder: str, asked: Search | None, trust: Collection[str] = ()) -> tuple[Path, Search]:
    """The folder of a search, and the search: the one asked for, or else the one in the folder.

    The search that is asked for may have more trials than the one in the folder.

    Args:
      folder: created later, if it does not exist.
      asked: None for the search in the folder.
      trust: modules whose code may run when search.json names it; see `jaxdl.named_code.FromRun`.

    Raises:
      UserError: the folder holds something else, or another search.
    """
    path, where = local_run(folder), f"--workdir {folder}"
    refuse_links(path)
    if not (path / SEARCH).exists():
        if strangers := entries(path) if path.is_dir() else []:
            raise UserError(
                f"{where}: holds {strangers[0]!r} but no {SEARCH}; choose a new directory"
            )
        if asked is None:
            raise UserError(f"{where}: holds no search; give --config")
        return path, asked
    held = read(path, trust)
    if asked is None:
        _refuse_code(held, path)
        return path, held
    if changes := _differences(held, asked):
        raise UserError(
            f"{where}: holds another search ({some(changes)}); choose another --workdir, or leave "
            "out --config to resume that one"
        )
    return path, replace(asked, identity=held.identity, best=held.best)


def read(folder: Path, trust: Collection[str] = ()) -> Search:
    """The search in the search.json of a folder.

    Raises:
      UserError: it is damaged.
    """
    saved = cfg.read_json(folder / SEARCH, Search, trust=trust)
    search = Search(**{key: saved[key] for key in saved if key in Search.__dataclass_fields__})
    if search.how not in ("halving", "trials") or search.size < 1 or search.eta < 2:
        raise UserError(f"{folder / SEARCH}: is not a valid search; restore it")
    return replace(search, config=resolved(renamed.config(search.config)))


def write(run: Run, search: Search) -> None:
    """Write search.json in a folder that is locked."""
    run.check_held()
    write_json(run.folder / SEARCH, asdict(search))


def check_objective(search: Search, experiment: Experiment, measured: Collection[str]) -> Best:
    """The metric that settings are compared by, if it is measured.

    Raises:
      UserError: there is no validation split, or the metric is not measured on it.
    """
    objective = search.objective
    if "validation" not in experiment.splits:
        keys = [key for key in search.config["data"] if key.startswith("validation")]
        how = " or ".join(f"--config.data.{key}" for key in keys) or "data that has one"
        raise UserError(
            f"--{search.how}: the data has no validation split to compare settings on; make one "
            f"with {how}"
        )
    objective.better(dict.fromkeys(measured, 0.0), None)
    return objective


def concluded(search: Search, folder: Path, tried: int) -> list[str]:
    """The lines about the best setting of a finished search."""
    best = search.best
    assert best is not None
    tested = {k: v for k, v in best["metrics"].items() if k.startswith("test/") and v is not None}
    told = {search.objective.metric: best["metrics"][search.objective.metric], **tested}
    return [
        f"best of {tried} settings: {shown(best['setting'])}",
        "  ".join(f"{name} {value:.6g}" for name, value in told.items()),
        f"to train it alone: {search.command(best['setting'], folder)}",
        f"its run is in {folder / best['place']}; everything is in {folder}",
    ]


def _refuse_code(held: Search, folder: Path) -> None:
    """Refuse draws of code names from a file that anybody may have written."""
    for draw in held.ranges:
        if any(isinstance(choice, str) and ":" in choice for choice in draw.choices or ()):
            raise UserError(
                f"{folder / SEARCH}: --draw {draw.given} may name code, which does not run unless "
                "you ask for it; repeat the original command, with --config"
            )


def _differences(held: Search, asked: Search) -> list[str]:
    """How two searches differ, apart from added trials."""
    before, after = (
        {key: value for key, value in asdict(each).items() if key not in ("identity", "best")}
        for each in (held, asked)
    )
    if held.how == asked.how == "trials" and asked.size >= held.size:
        del before["size"], after["size"]
    for each in (before, after):  # they are part of the config already
        del each["file"], each["overrides"]
    return cfg.differences(cfg.plain(before), cfg.plain(after), "search")


def write_figure(search: Search, lines: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Draw the settings that were tried, and what they reached; see `search_figure`."""
    objective, keys = search.objective, [each.key for each in search.ranges]
    figure = search_figure(lines, objective.metric, keys, objective.smaller)
    save(figure, folder / "figures" / "search.png")

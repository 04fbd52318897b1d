"""A search for a good setting: what is drawn, what it is judged by, and the folder that holds it.

    search.json              what is searched, and, at the end, the best setting
    figures/search.png       every setting that was tried, and its value

`jaxdl.sweeps.halving` searches in one program, `jaxdl.sweeps.trials` by Optuna's samplers.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl.checkpointing import renamed
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError, some
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
    """What a search is: the content of search.json.

    Attributes:
      how: 'halving' or 'trials'.
      config: resolved, with the overrides that all settings share.
      draws: each as after `--draw`.
      size: places of the population, or trials.
      file: as after `--config`.
      overrides: each `key=value`, as after `--config.`
      eta: of halving, the share that goes on is one in so many.
      budget: of halving, in lengths of a whole run.
      storage: of trials, an address of Optuna's; None for a file in the folder.
      sampler: of trials.
      identity: of this folder, to be told from others in the same storage.
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
        """The draws, read.

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
        """The metric that settings are judged by: `config.training.best`, or validation/loss.

        Raises:
          UserError: it is of another split than the validation split.
        """
        node = cfg.at(self.config, "training.best")
        best = Best(**node) if node else _LOSS
        if not best.metric.startswith("validation/"):
            raise UserError(
                f"config.training.best.metric: {best.metric!r} would choose a setting by what it "
                "is to be tested on; name a metric of the validation split"
            )
        return best

    def setting(self, member: int) -> Setting:
        """What is drawn for a member, from the config's seed and its number alone."""
        return drawn(self.ranges, self.config.get("seed", 0), member)

    def with_setting(self, setting: Setting) -> dict[str, Any]:
        """The config of a setting.

        Raises:
          UserError: a key cannot be set so.
        """
        return overridden(self.config, texts_of(setting))

    def corners(self) -> list[tuple[Draw, dict[str, Any]]]:
        """Configs with one key at an end of its range, or at one of its choices, each.

        Raises:
          UserError: a key cannot be set so; the message names the draw.
        """
        corners = []
        for draw in self.ranges:
            for end in draw.ends():
                with blamed_on(draw):
                    corners.append((draw, self.with_setting({draw.key: end})))
        return corners

    def command(self, setting: Setting, workdir: Path) -> str:
        """The command that trains a setting alone, as a line for a shell."""
        own = set(setting)
        given = [text for text in self.overrides if text.partition("=")[0] not in own]
        words = [f"--config.{text}" for text in (*given, *texts_of(setting))]
        return shlex.join(
            ["jaxdl", "train", "--config", self.file, *words, "--workdir", f"{workdir}-best"]
        )


@contextlib.contextmanager
def blamed_on(draw: Draw) -> Iterator[None]:
    """While entered, a user's error names the draw that it is of."""
    try:
        yield
    except UserError as error:
        raise UserError(f"--draw {draw.given}: {error}") from None


def claimed(folder: str, asked: Search | None, trust: Collection[str] = ()) -> tuple[Path, Search]:
    """The folder of a search, and what is searched there: what is asked, or what it holds.

    More trials may be asked than a folder holds.

    Args:
      folder: made later, if it does not exist.
      asked: None for the search that the folder holds.
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
            f"{where}: is another search ({some(changes)}); choose another --workdir, or leave "
            "out --config to resume this one as it was"
        )
    return path, replace(asked, identity=held.identity, best=held.best)


def read(folder: Path, trust: Collection[str] = ()) -> Search:
    """What search.json of a folder says.

    Raises:
      UserError: it is damaged.
    """
    saved = cfg.read_json(folder / SEARCH, Search, trust=trust)
    search = Search(**{key: saved[key] for key in saved if key in Search.__dataclass_fields__})
    if search.how not in ("halving", "trials") or search.size < 1 or search.eta < 2:
        raise UserError(f"{folder / SEARCH}: is not of a search; restore it")
    return replace(search, config=resolved(renamed.config(search.config)))


def write(run: Run, search: Search) -> None:
    """Write search.json in a folder that is locked."""
    run.check_held()
    write_json(run.folder / SEARCH, asdict(search))


def check_objective(search: Search, experiment: Experiment, measured: Collection[str]) -> Best:
    """What settings are judged by, once it is known to be measured.

    Raises:
      UserError: there is no validation split, or the metric is not one of it.
    """
    objective = search.objective
    if "validation" not in experiment.splits:
        keys = [key for key in search.config["data"] if key.startswith("validation")]
        how = " or ".join(f"--config.data.{key}" for key in keys) or "data that has one"
        raise UserError(
            f"--{search.how}: the data has no validation split, and nothing is chosen by the test "
            f"split; make one, by {how}"
        )
    objective.better(dict.fromkeys(measured, 0.0), None)
    return objective


def concluded(search: Search, folder: Path, tried: int) -> list[str]:
    """The lines that tell the best setting of a search that has ended."""
    best = search.best
    assert best is not None
    tested = {k: v for k, v in best["metrics"].items() if k.startswith("test/") and v is not None}
    told = {search.objective.metric: best["metrics"][search.objective.metric], **tested}
    return [
        f"best of {tried} settings: {shown(best['setting'])}",
        "  ".join(f"{name} {value:.6g}" for name, value in told.items()),
        f"alone: {search.command(best['setting'], folder)}",
        f"its run is {folder / best['place']}; everything is in {folder}",
    ]


def _refuse_code(held: Search, folder: Path) -> None:
    """Refuse to draw the names of code from a file that anybody may have written."""
    for draw in held.ranges:
        if any(isinstance(choice, str) and ":" in choice for choice in draw.choices or ()):
            raise UserError(
                f"{folder / SEARCH}: --draw {draw.given} may name code, which is not run unasked; "
                "give the command as at first, with --config"
            )


def _differences(held: Search, asked: Search) -> list[str]:
    """How two searches differ, but for what may be added to the first."""
    before, after = (
        {key: value for key, value in asdict(each).items() if key not in ("identity", "best")}
        for each in (held, asked)
    )
    if held.how == asked.how == "trials" and asked.size >= held.size:
        del before["size"], after["size"]
    for each in (before, after):  # what these say is in the config
        del each["file"], each["overrides"]
    return cfg.differences(cfg.plain(before), cfg.plain(after), "search")

"""The grid of a sweep: which configs, folds and seeds, and the names of their folders."""

from __future__ import annotations

import ast
import itertools
import logging
import re
import shlex
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl import config as cfg
from jaxdl import json_files
from jaxdl.checkpointing import renamed
from jaxdl.data import Folds
from jaxdl.errors import UserError, printable
from jaxdl.training.build import resolved
from jaxdl.training.settings import Settings

_MOST_SEEDS = 100_000  # in sweep.json: all runs are listed before the first one trains
_LONGEST = 60  # characters of a value in a folder's name
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


class Member(NamedTuple):
    """A run of a sweep: its point of the grid, its folder within the sweep's, and its config."""

    point: str
    place: str
    config: dict[str, Any]

    @property
    def shared(self) -> dict[str, Any]:
        """The part of the config that runs of one population have in common."""
        node = self.config.get("optimizer")
        rate = node.get("learning_rate") if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping) or rate is None or isinstance(rate, str | bool):
            return {**self.config, "seed": None}
        kind = "schedule" if isinstance(rate, Mapping) else "number"
        return {**self.config, "seed": None, "optimizer": {**node, "learning_rate": kind}}


@dataclass(frozen=True)
class Sweep:
    """A grid of configs, and a number of seeds and of folds.

    Attributes:
      points: name of each point of the grid, such as `learning_rate=0.1` -> its config.
      values: name of each point -> the keys that differ -> their values there.
      seeds: how many for each point, counting up from the config's own.
      texts: name of each point -> its overrides, each `key.sub=value`; empty if the sweep was read
        from sweep.json.
      folds: runs per seed, each with another fold of the data as its test split; None for one run
        on the data as it is.
    """

    points: Mapping[str, dict[str, Any]]
    values: Mapping[str, Mapping[str, Any]]
    seeds: int
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    folds: int | None = None

    @classmethod
    def of(
        cls,
        read: Callable[[list[str]], dict[str, Any]],
        overrides: Sequence[str],
        seeds: int,
        folds: Folds | None = None,
    ) -> Sweep:
        """From overrides, some of which have several values.

        Args:
          read: returns the config for a list of overrides.
          overrides: `key.sub=value` or `key.sub=value,value`.
          seeds: at least 1.
          folds: of the data, for cross-validation.

        Raises:
          UserError: the grid is not valid, or an override cannot be applied.
        """
        if seeds < 1:
            raise UserError(f"--seeds: expected at least 1, got {seeds}")
        texts_of: dict[str, list[str]] = {}
        for override in overrides:
            key, equals, text = override.partition("=")
            if key in texts_of:
                raise UserError(
                    f"--config.{key}: given twice; give it once, with commas between the values"
                )
            option = f"--config.{key}"
            texts_of[key] = alternatives(text, option) if equals else [override]
            if folds and f"{key}.".startswith("data.folds."):
                raise UserError(f"--config.{key}: --folds sets it; leave one of them out")
        if folds:
            texts_of["data.folds"] = [repr(asdict(folds))]
        axes = [key for key, texts in texts_of.items() if len(texts) > 1]
        if "seed" in axes:
            raise UserError("--config.seed: give the first seed here, and how many with --seeds")
        configs, values, written = list[dict[str, Any]](), list[dict[str, Any]](), list[list[str]]()
        once = _Once("jaxdl")
        for texts in itertools.product(*texts_of.values()):
            with once:  # a warning about a dropped key would be repeated at every point
                written.append([f"{k}={t}" for k, t in zip(texts_of, texts, strict=True)])
                config = read(written[-1])
            first, value = config.get("seed", 0), {key: cfg.at(config, key) for key in axes}
            if type(first) is not int or not 0 <= first <= 2**32 - seeds:
                raise UserError(f"config.seed: expected 0 to 2³² minus --seeds, got {first!r}")
            if value in values:
                twice = ", ".join(f"{key}={value[key]!r}" for key in axes)
                raise UserError(f"the grid has {twice} twice; give each value once")
            configs.append(config)
            values.append(value)
        names = _names(values)
        return cls(
            dict(zip(names, configs, strict=True)),
            dict(zip(names, values, strict=True)),
            seeds,
            dict(zip(names, written, strict=True)),
            folds.count if folds else None,
        )

    @property
    def members(self) -> list[Member]:
        """All runs, point by point."""
        return [
            Member(point, f"{point}{part}/seed={seed}".lstrip("/"), {**of_part, "seed": seed})
            for point, config in self.points.items()
            for part, of_part in self._parts(config)
            for seed in range(config.get("seed", 0), config.get("seed", 0) + self.seeds)
        ]

    def _parts(self, config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The configs for all folds, and the names of their folders."""
        if self.folds is None:
            yield "", config
        for fold in range(self.folds or 0):
            folds = {**config["data"]["folds"], "fold": fold}
            yield f"/fold={fold}", {**config, "data": {**config["data"], "folds": folds}}

    @property
    def over(self) -> str:
        """What the runs of a point differ in: seeds, folds or both."""
        both = "folds and seeds" if self.seeds > 1 else "folds"
        return both if self.folds else "seeds"

    def command(self, member: Member, file: str, workdir: str) -> str:
        """The shell command that trains one run of this sweep.

        Args:
          member: the run.
          file: the value of `--config`.
          workdir: the sweep's.

        Raises:
          UserError: the config has an unknown key, or an override has a character that does not fit
            on a line, such as a line end.
        """
        Settings.of(member.config)
        own = {"seed": member.config["seed"]}
        if self.folds:
            own["data.folds"] = member.config["data"]["folds"]
        given = [text for text in self.texts[member.point] if text.partition("=")[0] not in own]
        overrides = [*given, *(f"{key}={value}" for key, value in own.items())]
        words = ["jaxdl", "train", "--config", file, *(f"--config.{text}" for text in overrides)]
        words += ["--workdir", str(Path(workdir) / member.place)]
        line = shlex.join(words)
        if printable(line, None) != line:
            raise UserError(
                f"--commands: {line!r} has characters that do not fit on one line; remove them"
            )
        return line

    def to_json(self) -> dict[str, Any]:
        """The content of sweep.json."""
        folds = {"folds": self.folds} if self.folds else {}
        return {"seeds": self.seeds, **folds, "values": self.values, "points": self.points}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Sweep:
        """From the content of sweep.json.

        Raises:
          UserError: it is not a valid sweep, or a run would lie outside the sweep's folder.
        """
        points = {
            point: resolved(renamed.config(config)) for point, config in saved["points"].items()
        }
        sweep = cls(points, saved["values"], saved["seeds"], folds=saved.get("folds"))
        fault = None if 1 <= sweep.seeds <= _MOST_SEEDS else f"seeds: {sweep.seeds}"
        if sweep.folds is not None and not 2 <= sweep.folds <= _MOST_SEEDS:
            fault = fault or f"folds: {sweep.folds}"
        for point, config in sweep.points.items():
            first = config.get("seed", 0)
            if type(first) is not int or not 0 <= first <= 2**32 - sweep.seeds:
                fault = fault or f"config.seed {json_files.shown(first)}"
            if sweep.folds is not None and sweep.folds != cfg.at(config, "data.folds.count"):
                fault = fault or f"folds: {sweep.folds}"
            if point not in sweep.values or point.startswith("/") or ".." in point.split("/"):
                fault = fault or f"point {json_files.shown(point)}"
        if fault or not sweep.points:
            raise UserError(
                f"sweep.json: {f'invalid {fault}' if fault else 'no points'}; restore it"
            )
        return sweep


class _Once(logging.Filter):
    """While entered, a logger repeats no message."""

    def __init__(self, logger: str) -> None:
        super().__init__()
        self._logger, self._said = logging.getLogger(logger), set[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in self._said
        self._said.add(message)
        return new

    def __enter__(self) -> None:
        self._logger.addFilter(self)

    def __exit__(self, *_: object) -> None:
        self._logger.removeFilter(self)


def alternatives(text: str, option: str) -> list[str]:
    """The values of a text, separated by commas outside brackets and quotes.

    Raises:
      UserError: a value is empty, or a bracket or quote is not closed.
    """
    values, inside = [""], ""  # `inside`: the closing brackets and quotes still expected
    for letter in text:
        if inside and letter == inside[-1]:
            inside = inside[:-1]
        elif inside[-1:] in ("'", '"'):
            pass
        elif letter in _BRACKETS:
            inside += _BRACKETS[letter]
        elif letter in "'\"" and (
            inside or not values[-1].strip()
        ):  # not an apostrophe, as in don't
            inside += letter
        elif letter == "," and not inside:
            values.append("")
            continue
        values[-1] += letter
    values = [_unquoted(value.strip()) for value in values]
    if inside:
        raise UserError(f"{option}: {text!r} has no closing {inside[-1]}")
    if len(values) > 1 and "" in values:
        raise UserError(
            f"{option}: {text!r} has an empty value; write v1,v2, and a tuple as (1, 2)"
        )
    return values


def differences(old: Sweep, new: Sweep) -> list[str]:
    """How two sweeps differ: in seeds, folds, the grid, or the config of a point that both have."""
    before, after = (
        {"seeds": s.seeds, "folds": s.folds, "grid": ", ".join(s.points)} for s in (old, new)
    )
    changes = cfg.differences(before, after, "sweep")
    for point in [point for point in old.points if point in new.points][:1]:
        changes += cfg.differences(old.points[point], cfg.plain(new.points[point]))
    return changes


def extends(new: Sweep, old: Sweep) -> bool:
    """Whether a sweep has all runs of another, and maybe more."""
    configs = {member.place: cfg.plain(member.config) for member in new.members}
    return all(configs.get(m.place) == cfg.plain(m.config) for m in old.members)


def _names(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """A path for each point, such as `depth=2/learning_rate=0.1`, valid on any file system."""
    leaves = {key: key.rpartition(".")[2] for key in points[0]}
    titles = {k: v if list(leaves.values()).count(v) == 1 else k for k, v in leaves.items()}
    safe = {key: _safe([point[key] for point in points]) for key in titles}
    return ["/".join(f"{titles[k]}={safe[k][repr(v)]}" for k, v in p.items()) for p in points]


def _safe(values: Sequence[Any]) -> dict[str, str]:
    """The `repr` of each value -> a part of a path, different for each."""
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

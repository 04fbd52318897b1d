"""Runs as their files describe them, and how they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl.checkpointing.run_directory import Run, final_metrics
from jaxdl.errors import UserError, printable, suggestion
from jaxdl.files import existing_run, local_run, refuse_links
from jaxdl.sweeps.search import SEARCH
from jaxdl.sweeps.sweep import Sweep
from jaxdl.tree import leaves

_SHOWN = 40  # characters of a value in a table
_FACTS = ("step", "seed", "parameters", "wall_seconds")  # of a result


@dataclass(frozen=True)
class SavedRun:
    """A run, as its files describe it.

    Attributes:
      name: distinguishes it from the others.
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
    def of(cls, folder: Path, name: str) -> SavedRun:
        """The run in a directory.

        Raises:
          UserError: there is none, or a file of it is damaged.
        """
        run = Run(existing_run(folder))
        data = cfg.read_json(folder / "data.json") if (folder / "data.json").exists() else {}
        return cls(name, run, run.config(), data, run.result(), run.history())

    @property
    def metrics(self) -> dict[str, float | None]:
        """The final metrics; of a run that has not finished, those evaluated last."""
        return final_metrics(self.result, self.history)

    @property
    def step(self) -> int:
        """Number of updates made, as far as is logged."""
        if self.result is not None:
            return int(self.result["step"])
        return int(self.history[-1]["step"]) if self.history else 0

    @property
    def verdict(self) -> str:
        """Whether the run came to its end and met its target, in words."""
        result = self.result
        if result is None:
            return f"not finished, at step {self.step:,}"
        facts = []
        if target := result["target"]:
            met = "met" if result["met"] else "NOT met"
            facts.append(f"target {target['metric']} {target['value']:g}: {met}")
        if stopped := result.get("stopped_early"):
            facts.append(f"stopped early at step {stopped['step']:,} of {stopped['of_steps']:,}")
        if cfg.at(self.config, "data.twin"):
            facts.append("on a twin of its data, so its numbers mean nothing")
        return "; ".join(facts) or "finished"

    def series(self, metric: str) -> tuple[list[int], list[float]]:
        """Steps and values of a metric, as it was logged; empty if it was not."""
        pairs = [(line["step"], line[metric]) for line in self.history if _number(line, metric)]
        return [step for step, _ in pairs], [value for _, value in pairs]


def _number(line: Mapping[str, Any], metric: str) -> bool:
    return line.get(metric) is not None


def runs_of(folders: Sequence[str]) -> list[SavedRun]:
    """The runs in some directories; a sweep's directory stands for all its runs.

    Raises:
      UserError: a directory holds neither, comes twice, or a file in it is damaged.
    """
    runs, seen = list[SavedRun](), set[Path]()
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
            runs.append(SavedRun.of(folder / place, str(folder / place)))
    return _renamed(runs)


def _renamed(runs: list[SavedRun]) -> list[SavedRun]:
    """The runs, with names that leave out the folders that all share."""
    parts = [Path(each.name).parts for each in runs]
    shared = 0
    while len(runs) > 1 and all(len(p) > shared + 1 for p in parts):
        if len({p[shared] for p in parts}) > 1:
            break
        shared += 1
    if len(runs) == 1:
        shared = max(0, len(parts[0]) - 1)
    names = ["/".join(p[shared:]) or each.name for p, each in zip(parts, runs, strict=True)]
    return [
        SavedRun(name, each.run, each.config, each.data, each.result, each.history)
        for name, each in zip(names, runs, strict=True)
    ]


Rows = list[tuple[str, list[str]]]  # of a table: what it is, and a cell for each run
_WIDE = 6  # runs that have a column each; more have a row each


def table(runs: Sequence[SavedRun], rows: Rows) -> tuple[list[str], Rows]:
    """The heads and rows of a table of runs: a column for each, or, if there are many, a row."""
    names = [each.name for each in runs]
    if len(runs) <= _WIDE:
        return names, rows
    heads = [name for name, _ in rows]
    return heads, [(name, [cells[i] for _, cells in rows]) for i, name in enumerate(names)]


def differences(runs: Sequence[SavedRun]) -> Rows:
    """The keys in which the configs differ, and the splits in which the data does."""
    aside = ("logging", "callbacks")  # these cannot change a run
    configs = [{k: v for k, v in each.config.items() if k not in aside} for each in runs]
    found = [dict(leaves(config)) for config in configs]
    keys = dict.fromkeys(key for each in found for key in each)
    rows = [(key, [shown(each.get(key, _ABSENT)) for each in found]) for key in keys]
    unlike = sorted((key, cells) for key, cells in rows if len({*cells}) > 1)
    digests = [dict(leaves(each.data.get("sha256"))) for each in runs]
    for split in dict.fromkeys(name for each in digests for name in each):
        cells = [shown(each.get(split, _ABSENT))[:12] for each in digests]
        if len({*cells}) > 1:
            unlike.append((f"SHA-256 of data {split}".rstrip(), cells))
    return unlike


def results(runs: Sequence[SavedRun]) -> Rows:
    """The final metrics, and the other facts of each result."""
    names = dict.fromkeys(name for each in runs for name in each.metrics)
    rows = [(name, [_metric(each.metrics, name) for each in runs]) for name in names]
    for fact in _FACTS:
        cells = [shown((each.result or {}).get(fact, _ABSENT)) for each in runs]
        rows.append((fact.replace("_", " "), cells))
    return [*rows, ("verdict", [each.verdict for each in runs])]


def chosen_metric(runs: Sequence[SavedRun], asked: str | None) -> str:
    """The metric to draw: the requested one, that of a target, or the first that is not a loss.

    Raises:
      UserError: a run has not measured it.
    """
    measured = [name for each in runs for name in each.metrics]
    wanted = [(each.result or {}).get("target") for each in runs]
    targets = [target["metric"] for target in wanted if target]
    plain = [name for name in measured if not name.endswith("/loss")]
    metric = asked or next(iter([*targets, *plain, *measured]), "loss")
    for each in runs:
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

"""Verifies a run's result against its checkpoint, config and data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxdl import config as cfg
from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.environment import environment
from jaxdl.checkpointing.manifest import contents, saved_steps
from jaxdl.checkpointing.manifest import verify as fault_of
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError, some
from jaxdl.training.build import build_experiment
from jaxdl.training.continuation import changes_since
from jaxdl.training.experiment import Experiment
from jaxdl.training.measure import Measure
from jaxdl.training.state import digest


class Finding(NamedTuple):
    """The result of a check: of which part, whether it stands (None: for information), in words."""

    part: str
    stands: bool | None
    text: str


def verify(run: Run, tolerance: float) -> Iterator[Finding]:
    """Check a finished run, part by part, until a check fails that the next ones need.

    Args:
      run: its directory.
      tolerance: the relative difference allowed in a metric: on another machine or with other
        versions, sums are rounded differently.

    Raises:
      UserError: it has not finished, or its parts or data are missing.
    """
    result = run.result()
    if result is None:
        raise UserError(f"{run.folder}: has no result.json to verify; it has not finished")
    config = run.config()
    experiment = build_experiment(config, resumed=True)
    folder = run.checkpoints / str(result["step"])
    if result["step"] not in saved_steps(run.checkpoints):
        yield Finding("checkpoint", False, f"{folder}, which the result belongs to, is missing")
        return
    if damage := fault_of(folder):
        yield Finding("checkpoint", False, damage)
        return
    yield Finding("checkpoint", True, f"step {result['step']:,}, the SHA-256 of every file agrees")
    yield _config(config, folder, result)
    origin = cfg.plain(contents(folder)["notes"].get("origin", {}), "checkpoint")
    data = _data(run, experiment, origin)
    yield data
    if data.stands:
        yield from _numbers(run, experiment, result, tolerance)
    yield _machine(run)


def _config(config: Mapping[str, Any], checkpoint: Path, result: Any) -> Finding:
    changes = changes_since(config, checkpoint)
    if changes is None:
        return Finding("config", False, "the checkpoint does not say which config made it")
    if "seed" in result and result["seed"] != config["seed"]:
        changes.append(f"config.seed: {result['seed']} in result.json -> {config['seed']}")
    if changes:
        return Finding(
            "config", False, f"differs from the one that made the checkpoint ({some(changes)})"
        )
    return Finding("config", True, "config.json is the one that made the checkpoint")


def _data(run: Run, experiment: Experiment, origin: Any) -> Finding:
    present = cfg.plain(experiment.description, "data")
    try:
        run.check_data(experiment.description)
    except UserError as error:
        return Finding("data", False, str(error))
    changes = cfg.differences(
        origin.get("data", {}), {k: present.get(k) for k in origin.get("data", {})}, "data"
    )
    if changes:
        return Finding(
            "data", False, f"differs from what the checkpoint was trained on ({some(changes)})"
        )
    sizes = ", ".join(f"{number:,} {name}" for name, number in present["examples"].items())
    return Finding("data", True, f"the SHA-256 of every split agrees ({sizes} examples)")


def _numbers(
    run: Run, experiment: Experiment, result: Mapping[str, Any], tolerance: float
) -> Iterator[Finding]:
    with experiment.precision.enabled():
        restored = Checkpoints(run.checkpoints).restore(experiment.abstract_state)
        if restored is None or int(restored[0].step) != result["step"]:
            yield Finding(
                "parameters", False, "there is a later checkpoint than that of the result"
            )
            return
        state = restored[0]
        mine = digest(jax.device_get(experiment.devices.gathered(state).params))
        stands = mine == result.get("params_sha256")
        agrees = "agrees with" if stands else f"is {mine[:12]}…, but differs in"
        yield Finding("parameters", stands, f"their SHA-256 {agrees} result.json")
        metrics, _ = Measure(experiment, state)(state)
    counted = {name: len(experiment.splits[name]) for name in experiment.eval_splits}
    if counted != result["examples"]:
        yield Finding("examples", False, f"{counted} here, but {result['examples']} in result.json")
    yield _metrics(metrics, result["metrics"], tolerance)
    yield _target(experiment, metrics, result)


def _metrics(
    mine: Mapping[str, float], reported: Mapping[str, float | None], tolerance: float
) -> Finding:
    """Whether the metrics that were measured again are those of the result."""
    if mine.keys() != reported.keys():
        names = ", ".join(sorted(mine.keys() ^ reported.keys()))
        return Finding("metrics", False, f"only one of result.json and this evaluation has {names}")
    apart = {name: _apart(value, reported[name]) for name, value in mine.items()}
    wrong = [
        f"{name} {reported[name]} is {mine[name]}" for name, d in apart.items() if d > tolerance
    ]
    if wrong:
        return Finding("metrics", False, some(wrong))
    number = f"{len(mine)} of {len(mine)} metrics"
    worst = max(apart.values(), default=0.0)
    if worst == 0:
        return Finding("metrics", True, f"{number} come out the same, to the last digit")
    return Finding("metrics", True, f"{number} come out the same, to {worst:.1g} of their value")


def _apart(one: float, other: float | None) -> float:
    """The relative difference; null stands for what is not finite."""
    if other is None or not math.isfinite(one):
        return 0.0 if other is None and not math.isfinite(one) else math.inf
    return abs(one - other) / max(abs(one), abs(other), 1e-12)


def _target(experiment: Experiment, metrics: Mapping[str, float], result: Any) -> Finding:
    target, reported = experiment.target, result["target"]
    if target is None or reported is None:
        stands = (target is None) == (reported is None) and result["met"] is None
        return Finding(
            "target", stands, "none is set" if stands else "is set in only one of config and result"
        )
    same = (target.metric, target.value) == (reported["metric"], reported["value"])
    met = target.met(metrics)
    verdict = f"{target.metric} {target.value:g}: {'met' if met else 'NOT met'}"
    return Finding("target", same and met == result["met"], verdict)


def _machine(run: Run) -> Finding:
    """Where it was trained and where it is verified; for information."""
    path = run.folder / "environment.json"
    before = cfg.read_json(path) if path.exists() else {}
    now = cfg.plain(environment(), "environment")
    parts = ("python", "platform", "packages", "devices")
    changes = [
        line for part in parts for line in cfg.differences(before.get(part), now.get(part), part)
    ]
    return Finding("machine", None, some(changes) or "as in training")

"""Schedules: a learning rate as a function of the step of the run.

All steps that a schedule names count from the start of the run: with or without a warm-up,
`drops=(6,)` drops at step 6, and a `total` of 50 ends at step 50. To add one, write a function that
makes it from its numbers, and list it in `SCHEDULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import config as cfg
from jaxdl.durations import Clock
from jaxdl.errors import UserError

Schedule = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class WarmUp:
    """The keys of a node besides the arguments of a schedule; see `schedule`."""

    warmup: float | Mapping[str, float] | None = None


def constant(value: float) -> Schedule:
    """`value` throughout."""
    return lambda step: jnp.asarray(value)


def exponential(peak: float, time_constant: int, floor: float = 0.0, start: int = 0) -> Schedule:
    """floor + (peak - floor)·exp(-t / time_constant), t steps after `start`."""

    def schedule(step: jax.Array) -> jax.Array:
        return floor + (peak - floor) * jnp.exp(-_since(start, step) / time_constant)

    return schedule


def stepwise(peak: float, drops: tuple[int, ...], factor: float = 0.1) -> Schedule:
    """`peak`, times `factor` at each of the steps `drops` (He et al. 2015: ÷10 twice)."""
    return lambda step: peak * factor ** jnp.sum(step >= jnp.asarray(drops, jnp.int32))


def geometric(peak: float, factor: float, every: int, after: int = 0) -> Schedule:
    """`peak`, times `factor` at step `after` and every `every` steps from there (char-rnn)."""

    def schedule(step: jax.Array) -> jax.Array:
        return peak * factor ** jnp.maximum(0, (step - after) // every + 1)

    return schedule


def cosine(peak: float, total: int, floor: float = 0.0, start: int = 0) -> Schedule:
    """From `peak` at step `start` to `floor` at step `total`, along half a cosine.

    Loshchilov & Hutter 2017, equation 5. In a config `start` is by default the end of the warm-up,
    and `total` the length of the run.
    """

    def schedule(step: jax.Array) -> jax.Array:
        progress = _progress(start, total, step)
        return floor + (peak - floor) * 0.5 * (1 + jnp.cos(jnp.pi * progress))

    return schedule


def linear(peak: float, total: int, floor: float = 0.0, start: int = 0) -> Schedule:
    """From `peak` at step `start` to `floor` at step `total`, along a line; see `cosine`."""
    return lambda step: peak + (floor - peak) * _progress(start, total, step)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    factory.__name__: factory
    for factory in (constant, cosine, exponential, geometric, linear, stepwise)
}


def schedule(node: Any, clock: Clock, path: str) -> Schedule:
    """A schedule, from a number or from a node of `SCHEDULES`.

    Steps and durations among its arguments may be given in epochs. Every schedule also takes
    `warmup`, a duration over which its values are scaled by a factor that rises linearly to 1; it
    shifts no step that the schedule names. One that has a `start` falls from there on, by default
    from the end of the warm-up; one that has a `total` ends there, by default with the run. A
    schedule or a JAX array, which populations pass, is used as it is.

    Raises:
      UserError: unknown name or key, a rate that is not a positive number, or a `total` that is not
        after `start`.
    """
    if callable(node):
        return node
    if traced(node):
        return lambda step: node
    if isinstance(node, int | float) and not isinstance(node, bool):
        node = {"name": "constant", "value": float(node)}
    if not isinstance(node, Mapping):
        raise UserError(f"{path}: expected a number or dict(name=…), got {node!r}")
    thing, arguments = cfg.choose(node, SCHEDULES, path)
    warmup = clock.steps(arguments.pop("warmup", None), f"{path}.warmup") or 0
    for key, kind in cfg.argument_types(thing).items():
        if key in arguments and kind is int:
            arguments[key] = clock.steps(arguments[key], f"{path}.{key}")
        if kind == tuple[int, ...] and isinstance(arguments.get(key), tuple):
            arguments[key] = tuple(clock.steps(d, f"{path}.{key}") for d in arguments[key])
    end = arguments.get("total", math.inf)  # by default that of a run, however short
    for key, step in (("start", warmup), ("total", clock.total)):
        if key in cfg.parameters(thing):
            arguments.setdefault(key, step)
    require_positive(arguments, path)
    decay = cfg.call(thing, arguments, path)
    if end <= arguments.get("start", 0):
        raise UserError(
            f"{path}.total: the rate would reach its end at step {end}, but begin to fall only at "
            f"step {arguments['start']}, by default the end of the warm-up; name a later step"
        )
    if not warmup:
        return decay

    def warmed(step: jax.Array) -> jax.Array:
        rate = decay(step)
        return jnp.where(step < warmup, rate * (step + 1) / warmup, rate)

    return warmed


def _since(start: int, step: jax.Array) -> jax.Array:
    """Steps since `start`; in float64 where JAX has it, where a division would give float32."""
    return jnp.asarray(jnp.maximum(step - start, 0), float)


def _progress(start: int, total: int, step: jax.Array) -> jax.Array:
    """How much of the way from step `start` to step `total` is done, in [0, 1].

    A run that is shorter than its warm-up ends before it starts to fall.
    """
    return jnp.minimum(_since(start, step) / max(1, total - start), 1)


def traced(value: Any) -> bool:
    """Whether a number is an array, as populations pass it, whose value was checked before."""
    return isinstance(value, jax.Array)


def require_positive(arguments: Mapping[str, Any], path: str) -> None:
    """Refuse rates and the like that are not above 0."""
    for key, value in arguments.items():
        if traced(value):
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if key in ("value", "peak", "clip_norm", "weight_decay") and not (number and value > 0):
            raise UserError(f"{path}.{key}: expected a number above 0, got {value!r}")

"""The steps of an experiment, as `jaxdl train` makes them: the side of jaxdl in the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def steps_of(config: Mapping[str, Any]) -> Callable[[int], object]:
    """What makes n steps of a config: same experiment, feed and compiled call, every loss read."""
    import jax.numpy as jnp

    from jaxdl.runtime import keep_freed_memory
    from jaxdl.training.build import build_experiment
    from jaxdl.training.timing import Pace

    keep_freed_memory()  # as the command does
    experiment = build_experiment(config)
    devices, feed, state = experiment.devices, experiment.loader(), experiment.init()
    columns = devices.replicate(feed.columns)
    given = devices.scatter(feed.make(0, 0), axis=1)
    call = devices.compiled_step(experiment.run_steps, state, columns, given, jnp.int32(0))
    step, pace = 0, Pace(feed.steps)

    def steps(n: int) -> None:
        nonlocal state, step
        end, unread = step + n, []
        pace.restart()
        while step < end:
            k = min(pace.steps, end - step)
            given = devices.scatter(feed.take(step, k), axis=1)
            state, summaries = call(state, columns, given, jnp.int32(k))
            step += k
            feed.prepare(step, min(pace.steps, max(1, end - step)))
            unread.append((k, summaries))
            if len(unread) > 1:  # of the call before: this one is computing meanwhile
                read(*unread.pop(0))
        read(*unread.pop())

    def read(k: int, summaries: Mapping[str, Any]) -> None:
        if not np.asarray(summaries["finite"])[:k].all():
            raise FloatingPointError(f"not finite near step {step}")
        pace.tick(k)

    return steps

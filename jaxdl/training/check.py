"""Checks an experiment before training, and says what can be known of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jaxdl.data.table import Table
from jaxdl.errors import UserError, own_line, reason
from jaxdl.kernels import FOREIGN_CALLS
from jaxdl.metrics import Gathered, WeightedSum
from jaxdl.optim import LeastSquares
from jaxdl.parallel.sharding import why_whole
from jaxdl.terminal import aligned, say
from jaxdl.training.experiment import Experiment
from jaxdl.training.memory import Memory, free_memory, mib
from jaxdl.training.speed import Arithmetic
from jaxdl.training.state import State, count
from jaxdl.training.warn import warn_of_doubts, warn_of_overlaps
from jaxdl.tree import flatten
from jaxdl.types import Batch

PLATFORMS = ("cpu", "cuda", "tpu")


def check(experiment: Experiment, say: Callable[[str], None] = say) -> None:
    """Check an experiment, and print the findings part by part.

    Raises:
      UserError: the first problem.
    """
    with experiment.precision.enabled():
        _data(experiment, say)
        warn_of_doubts(experiment, check_shapes(experiment), say)
        warn_of_overlaps(experiment.splits, say)
        state, batch = experiment.abstract_state, experiment.abstract_batch()
        if start := experiment.init_from:
            say(f"init_from   {start.path}: {start.fill(state.params, state.model_state)}")
        outputs = jax.eval_shape(experiment.prediction, state, batch)
        splits = ", ".join(experiment.eval_splits) or "nothing"
        say(f"shapes      the train step and evaluation of {splits} fit; predicts {_show(outputs)}")
        say(f"parameters  {count(state.params):,}")
        for row in _table(state.params):
            say(row)
        report_placement(experiment, say)
        _cost(experiment, state, batch, say)
        _lowering(experiment, state, batch, say)


def check_shapes(experiment: Experiment) -> frozenset[str]:
    """Trace the model, the train step and every evaluation, without computing.

    Returns:
      The names of what evaluation reports, such as 'test/accuracy' and 'test/confusion'.

    Raises:
      UserError: the model cannot take the data, the task cannot use the model's outputs, or the
        weights to start from do not fit the model.
    """
    with experiment.precision.enabled():
        _check_model(experiment)
        measured = _check_steps(experiment)
        if experiment.init_from:
            state = experiment.abstract_state
            experiment.init_from.fill(state.params, state.model_state)
        return measured


def _check_model(experiment: Experiment) -> None:
    model, task = experiment.model, experiment.task
    raw = experiment.abstract_batch()
    batch = jax.eval_shape(lambda b: experiment.transforms.always(b, jax.random.key(0)), raw)

    def run(batch: Batch) -> Any:
        inputs = experiment.precision.to_compute(task.inputs(batch))
        params, model_state = model.init(jax.random.key(0), inputs)
        return model.apply(params, model_state, inputs, None, False)[0]

    columns = ", ".join(f"{name} {_show(x)}" for name, x in batch.items())
    outputs = _traced(lambda: jax.eval_shape(run, batch), f"config.model: cannot take {columns}")
    allowed = task.output_shapes(batch)
    if allowed and getattr(outputs, "shape", None) not in allowed:
        raise UserError(
            f"config.model: its outputs are {_show(outputs)}, but config.task needs shape "
            f"{' or '.join(map(str, allowed))}; make config.model.outputs fit, or leave it out"
        )


def _check_steps(experiment: Experiment) -> frozenset[str]:
    state = _traced(lambda: experiment.abstract_state, "config.optimizer: cannot start")
    batch = experiment.abstract_batch()
    _traced(lambda: jax.eval_shape(experiment.step, state, batch), "config: the train step fails")
    metrics: dict[str, float] = {}
    for split in experiment.eval_splits:
        metrics |= {f"{split}/{name}": 0.0 for name in _metrics(experiment, split, state)}
    if experiment.target:
        experiment.target.met(metrics)
    if experiment.training.best:
        experiment.training.best.better(metrics, None)
    return frozenset(metrics)


def _metrics(experiment: Experiment, split: str, state: State) -> list[str]:
    """The names of what evaluation reports on a split."""
    table, size = experiment.splits[split], experiment.training.eval_batch_size
    fresh_carry = functools.partial(experiment.fresh_carry, size=size)
    state = replace(state, carry=jax.eval_shape(fresh_carry, state))
    batch = experiment.abstract_eval_batch(split)
    evaluate = functools.partial(jax.eval_shape, experiment.evaluation, state, batch)
    sums, _ = _traced(evaluate, f"config: evaluation of {split} fails")
    names: list[str] = []
    if task := experiment.scores_text:
        generate = functools.partial(jax.eval_shape, experiment.generation, state, batch)
        _traced(generate, f"config: generation for {split} fails")
        names += task.scores
    blank = {name: _blank(metric, len(table)) for name, metric in sums.items()}
    return [*names, *experiment.task.report(blank, table)]


def _blank(metric: WeightedSum | Gathered, examples: int) -> Any:
    """What `jaxdl.metrics.means` might return: zeros for sums, and -1 for values per example.

    As a label, -1 stands for no object, so that there is nothing to evaluate.
    """
    if isinstance(metric, WeightedSum):
        return np.zeros(metric.sum.shape)
    return jax.tree.map(
        lambda x: np.full((examples, *x.shape[1:]), -1).astype(x.dtype), metric.value
    )


def _data(experiment: Experiment, say: Callable[[str], None]) -> None:
    for name, table in experiment.splits.items():
        columns = ", ".join(f"{k} {_show(x)}" for k, x in _example(table).items())
        say(f"data        {name}: {len(table):,} examples of {columns}")
    clock, size = experiment.clock, experiment.order.batch_size
    epochs = clock.total / clock.steps_per_epoch
    say(f"run         {clock.total:,} steps of {size} examples, {epochs:.2f} epochs")


def _example(table: Table) -> dict[str, jax.ShapeDtypeStruct]:
    return {
        name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
        for name, x in table.batch_shapes(1).items()
    }


def report_placement(experiment: Experiment, say: Callable[[str], None]) -> None:
    """Say how much of the state each device holds."""
    devices, state = experiment.devices, experiment.abstract_state
    mesh = " x ".join(f"{size} {axis}" for axis, size in devices.mesh.shape.items())
    whole = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    held, all_of_it = mib(devices.share(state)), mib(whole)
    say(f"devices     {mesh}: each holds {held} of the state's {all_of_it}")
    compute, sums = experiment.precision.compute, experiment.precision.sums
    if devices.placement != "replicated" and sums != compute:
        say(
            f"precision   the state is sharded, so gradients are summed in {compute}, not in {sums}"
        )
    if devices.placement == "fsdp" and held == all_of_it:
        reason = why_whole(devices.mesh.shape, state.params)
        say(f"placement   fsdp shards nothing: {reason}")


def _cost(experiment: Experiment, state: Any, batch: Any, say: Callable[[str], None]) -> None:
    """FLOPs and memory of one step; a step that does not fit is refused."""
    lowered = experiment.devices.lowered_step(experiment.step, state, batch)
    arithmetic = Arithmetic.of(lowered, experiment.devices)
    if arithmetic is not None:
        say(f"compute     {arithmetic.per_example(experiment.order.batch_size)}")
    memory, free = Memory.of(lowered.compile()), free_memory()
    say(f"memory      {memory}{f'; {mib(free)} are free' if free else ''}")
    # On a CPU the devices share the memory of the machine.
    devices = len(experiment.devices.mesh.local_devices) if jax.default_backend() == "cpu" else 1
    if free is not None and memory.needed * devices > free:
        raise UserError(
            f"config.training.batch_size: a step of {experiment.order.batch_size} examples needs "
            f"{mib(memory.needed * devices)}, and {mib(free)} are free; "
            f"{_what_fits(experiment, state, batch, free // devices)}"
        )


def _what_fits(experiment: Experiment, state: Any, batch: Any, free: int) -> str:
    """A remedy: the least number of parts in which a batch fits, found by compiling each."""
    size, shards = experiment.order.batch_size, experiment.devices.mesh.shape["data"]
    parts = 2 * experiment.training.accumulate
    while size % (parts * shards) == 0 and not isinstance(experiment.optimizer, LeastSquares):
        training = replace(experiment.training, accumulate=parts)
        try:
            step = replace(experiment, training=training).step
            memory = Memory.of(experiment.devices.compiled_step(step, state, batch))
        except UserError:  # a batch norm would see one value
            break
        if memory.needed <= free:
            return f"set config.training.accumulate={parts}, which needs {mib(memory.needed)}"
        parts *= 2
    return "lower it, or take a smaller model or more memory"


def _lowering(experiment: Experiment, state: Any, batch: Any, say: Callable[[str], None]) -> None:
    """Check that the step lowers for all platforms, also without such a device."""
    for platform in PLATFORMS:
        export = jax.export.export(
            jax.jit(experiment.step),
            platforms=[platform],
            # Nothing is kept of the export, so its custom calls need not be stable.
            disabled_checks=[
                jax.export.DisabledSafetyCheck.custom_call(t) for t in FOREIGN_CALLS.values()
            ],
        )
        lowered = functools.partial(export, state, batch)
        _traced(lowered, f"config.model: does not lower for {platform}")
    say(f"lowers for  {', '.join(PLATFORMS)}")


def _table(params: Any) -> list[str]:
    """Path, shape, type and size of every parameter, and the axes along which it is sharded."""
    rows = [
        (path, _show(leaf), f"{leaf.size:,}", _cut(leaf.sharding))
        for path, leaf in flatten(params).items()
    ]
    return [f"  {line}" for line in aligned(rows, right=(2,))]


def _cut(sharding: Any) -> str:
    if sharding.is_fully_replicated:
        return ""
    return f"sharded along ({', '.join(axis or '-' for axis in sharding.spec)})"


def _traced(function: Callable[[], Any], what: str) -> Any:
    """What a function returns; what it raises becomes a one-line UserError."""
    try:
        return function()
    except UserError:
        raise
    except Exception as error:  # Flax and JAX raise many types where something does not fit
        raise UserError(f"{what}: {reason(error)}{own_line(error)}") from error


def _show(x: Any) -> str:
    return f"{np.dtype(x.dtype).name}{list(x.shape)}" if hasattr(x, "shape") else str(x)

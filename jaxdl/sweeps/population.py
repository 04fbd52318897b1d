"""A population: many runs in one compiled program, by `jax.vmap` over the step.

Its members share model, data and length. Each has its own learning rate and seed, and so its own
initial parameters, dropout and order of the data; in a search, also its own values of other numbers
of the optimiser and the task. A member leaves the same files as a run trained alone, and the same
numbers up to rounding.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config as cfg
from jaxdl import optim
from jaxdl.data.loader import fetch
from jaxdl.data.order import ShuffledEpochs
from jaxdl.training import combinators
from jaxdl.training.build import build_task
from jaxdl.training.experiment import Experiment
from jaxdl.training.state import State, count
from jaxdl.training.step import Summary

# One program saves the start-up of each run and, where steps are tiny, the time between them. Up to
# this many parameters it costs nothing. The convolutions of several runs become grouped ones, which
# are slow in XLA:CPU: 0.65 of the speed in turn. On one CPU, where members go one by one, they are
# as fast as in turn, and no faster.
_SMALL = 1 << 18
_SLOW_ON_CPU = ("conv_general_dilated", "ffi_call")

RATE = "optimizer.learning_rate"


class Population:
    """Runs that train in one program.

    Args:
      experiment: the first run's.
      configs: those of all runs. They may differ in `seed`, in `optimizer.learning_rate` (a number
        in all, or a schedule in all), and in the keys of `carried`.
      carried: keys whose values are inputs of the program, so that other members can replace
        these: `RATE`, and numbers of `optimizer` and `task`. By default `RATE`, if it differs.
    """

    def __init__(
        self,
        experiment: Experiment,
        configs: Sequence[Mapping[str, Any]],
        carried: Sequence[str] | None = None,
    ) -> None:
        self.experiment = experiment
        self.members = [member_of(experiment, config) for config in configs]
        rates = [config["optimizer"].get("learning_rate") for config in configs]
        differ = [RATE] if any(rate != rates[0] for rate in rates) else []
        self._carried = differ if carried is None else carried
        self._seeds = np.asarray([member.seed for member in self.members], np.uint32)

    def __len__(self) -> int:
        return len(self.members)

    @functools.cached_property
    def carried(self) -> dict[str, Any]:
        """What differs among members, except their seeds: key -> (members, …), stacked `row`s."""
        rows = [self.row(member) for member in self.members]
        return jax.tree.map(lambda *parts: jnp.stack(parts), *rows)

    def row(self, member: Experiment) -> dict[str, Any]:
        """The inputs of one member: key -> a number, or its learning rates (steps + 1,).

        A schedule depends on the step alone, so a table of its values can replace it.
        """
        numbers = {key: cfg.at(member.config, key) for key in self._carried if key != RATE}
        row = {key: jnp.asarray(number, float) for key, number in numbers.items()}
        if RATE in self._carried and member.rate is not None:
            steps = jnp.arange(self.experiment.clock.total + 1)
            row[RATE] = jax.vmap(member.rate)(steps)
        return row

    @property
    def shardings(self) -> tuple[Any, Any]:
        """For states, and for batches (steps, members, batch): members are spread over devices.

        If the devices do not divide the members, the examples of each batch are spread instead.
        """
        devices = self.experiment.devices
        if len(self) % devices.mesh.shape["data"] == 0:
            return devices.spread(0), devices.spread(1)
        return devices.replicated, devices.spread(2)

    def initial(self, carried: Any, start: Any = None) -> State:
        """The states before the first step, stacked along a leading axis of members; pure.

        Args:
          carried: as in the property.
          start: (params, model_state) for all members, or None to initialise each.
        """

        def one(seed: Any, carried: Any) -> State:
            return self._at(carried).initial(seed, start)

        return jax.vmap(one)(self._seeds, carried)

    def start_from(self) -> Any:
        """(params, model_state) from `init_from`, the same for all members; or None."""
        experiment, start = self.experiment, self.experiment.init_from
        if start is None:
            return None
        state = experiment.init()
        filled = start.fill(state.params, state.model_state)
        start.forget()
        return experiment.devices.replicate((filled.params, filled.model_state))

    def run_steps(
        self,
        states: State,
        carried: Any,
        columns: Any,
        batches: Any,
        n: jax.Array,
        *,
        at_once: bool = False,
    ) -> tuple[State, Summary]:
        """`n` steps of all members; this is compiled.

        Args:
          states: stacked along a leading axis of members.
          carried: as in the property.
          columns: those of the training data, on the device.
          batches: rows of the data, (steps, members, batch).
          n: how many of these steps to run.
          at_once: use `vmap` even where the program steps one member after the other.

        Returns:
          States, and summaries (steps, members).
        """

        def one(state: State, carried: Any, rows: Any) -> tuple[State, Summary]:
            return self._at(carried).step(state, fetch(columns, rows))

        step = combinators.population(one, self._one_by_one and not at_once)
        repeated = combinators.repeat(lambda states, rows: step(states, carried, rows))
        return repeated(states, batches, n)

    def obstacle(self) -> str | None:
        """Why these runs cannot train in one program; None if they can."""
        experiment = self.experiment
        if not experiment.loader().columns:
            return "their data is not on the device"
        if experiment.devices.placement != "replicated" or jax.process_count() > 1:
            return "their states are sharded over devices"
        if experiment.sums_gradients:
            return "their gradients are summed over devices"
        if experiment.training.patience:
            return "each may stop early"
        if experiment.training.best:
            return "each keeps its best checkpoint"
        try:
            _ = self._program
        except Exception as error:  # users' models and optimisers may not be mappable
            return f"their step cannot be mapped over runs ({type(error).__name__})"
        return None

    def slow(self) -> str | None:
        """Why one program would be slower; None if it would not."""
        with self.experiment.precision.enabled():
            size = count(self.experiment.abstract_state.params)
        if size > _SMALL:
            return f"{size:,} parameters are more than {_SMALL:,}"
        if jax.default_backend() == "cpu" and any(
            name in str(self._program) for name in _SLOW_ON_CPU
        ):
            return "convolutions of many runs are no faster on a CPU"
        return None

    def _at(self, carried: Mapping[str, Any]) -> Experiment:
        """The experiment of a member, from its `row`, which may be traced."""
        if not carried:
            return self.experiment
        experiment, task = self.experiment, self.experiment.task
        node = dict(experiment.config["optimizer"])
        for key, value in carried.items():
            group, _, leaf = key.partition(".")
            if key == RATE:
                node[leaf] = lambda step: carried[RATE][step]
                if not isinstance(experiment.config["optimizer"][leaf], Mapping):
                    # Some optimisers accept only numbers.
                    node[leaf] = value[0].astype(experiment.precision.params)
            elif group == "optimizer":
                node[leaf] = value.astype(experiment.precision.params)
            else:
                task = copy.copy(task)  # already built with a number that was checked
                object.__setattr__(task, leaf, value.astype(experiment.precision.output))
        optimizer = optim.build(node, experiment.clock)
        return replace(experiment, optimizer=optimizer, task=task)

    @property
    def _one_by_one(self) -> bool:
        """Whether the program steps one member after the other, as it does on one CPU."""
        devices = self.experiment.devices.mesh.devices
        return devices.size == 1 and devices.flat[0].platform == "cpu"

    def ignored(self) -> list[str]:
        """Keys of `carried` that have no effect on training."""
        jaxpr, keys = self._program.jaxpr, sorted(self.carried)
        used = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
        states = len(jax.tree.leaves(jax.eval_shape(self.initial, self.carried)))
        inputs = jaxpr.invars[states : states + len(keys)]  # in the order of the arguments
        return [key for key, x in zip(keys, inputs, strict=True) if id(x) not in used]

    @functools.cached_property
    def _program(self) -> Any:
        """The jaxpr of one step of all members at once."""
        experiment = self.experiment
        with experiment.precision.enabled():
            states = jax.eval_shape(self.initial, self.carried)
            columns = experiment.devices.abstract(dict(experiment.splits["train"].columns))
            rows = np.zeros((1, len(self), experiment.order.batch_size), np.int32)
            call = jax.make_jaxpr(functools.partial(self.run_steps, at_once=True))
            return call(states, self.carried, columns, rows, np.int32(1))


def member_of(experiment: Experiment, config: Mapping[str, Any]) -> Experiment:
    """The experiment of a config that differs only in seed and numbers of optimiser and task.

    Raises:
      UserError: the optimiser or the task refuses its numbers.
    """
    order, seed, task = experiment.order, config.get("seed", 0), experiment.task
    if config["task"] != experiment.config["task"]:
        task = build_task(config["task"], getattr(task, "classes", 1))
    return replace(
        experiment,
        config=config,
        seed=seed,
        task=task,
        order=replace(order, seed=seed) if isinstance(order, ShuffledEpochs) else order,
        optimizer=optim.build(config["optimizer"], experiment.clock),
        rate=optim.learning_rate(config["optimizer"], experiment.clock),
    )

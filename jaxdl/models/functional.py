"""A Flax module as a few pure functions, all that the rest of jaxdl sees of a model."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxdl.errors import UserError
from jaxdl.models.layers import TrainingCalls
from jaxdl.models.model import Model, arrays, unknown
from jaxdl.models.modules import outputs_by_path, run_inside
from jaxdl.types import Carry, ModelState, Params


def functional(
    module: nn.Module | Callable[..., Any], ghost_batch_size: int | None = None
) -> Model:
    """The pure functions of a Flax module: an instance of Linen's, or what makes one of NNX.

    An NNX module holds its parameters, so its class is given, or a `functools.partial` of it, and
    made with `rngs` where parameters are initialised; see `jaxdl.models.from_nnx`.

    Raises:
      UserError: it is neither.
    """
    if isinstance(module, nn.Module):
        return _from_linen(module, ghost_batch_size)
    name = getattr(module, "__name__", type(module).__name__)
    if not makes_nnx(module):
        remedy = f"create it: {name}(…)"
        if _of_nnx(type(module)):
            remedy = f"give what creates it, functools.partial({name}, …)"
        elif not (inspect.isclass(module) and issubclass(module, nn.Module)):
            remedy = "a function that creates an NNX module takes `rngs`"
        raise UserError(f"config.model: {name} is not a Linen module or an NNX class; {remedy}")
    if ghost_batch_size:
        raise UserError(
            "config.training.ghost_batch_size: is for the batch norm of jaxdl.models.layers, which "
            "an NNX module does not use; leave it out"
        )
    from jaxdl.models.from_nnx import from_nnx  # here, since NNX takes long to import

    return from_nnx(module)


def makes_nnx(thing: Any) -> bool:
    """Whether it makes an NNX module: a class of them, or a function that takes `rngs`."""
    if isinstance(thing, functools.partial):
        return makes_nnx(thing.func)
    if inspect.isclass(thing):
        return _of_nnx(thing)
    return inspect.isfunction(thing) and "rngs" in inspect.signature(thing).parameters


def _of_nnx(kind: type) -> bool:
    nnx = sys.modules.get("flax.nnx")  # who has a module of it has imported it
    return nnx is not None and issubclass(kind, nnx.Module)


def _from_linen(module: nn.Module, ghost_batch_size: int | None = None) -> Model:
    """The pure functions of a Linen module.

    In training, batch norm takes its statistics over `ghost_batch_size` examples at a time; by
    default over the whole batch.

    `train` is handed to modules whose `__call__` takes it; others behave the same in both modes.
    Inputs may be NumPy's, which modules then see as JAX's.
    A module that generates sequences has methods `initialize_carry(size, *conditions) -> carry` and
    `decode(carry, tokens, *, train) -> (logits, carry)`.
    """
    takes_train = "train" in inspect.signature(type(module).__call__).parameters

    def mode(train: bool) -> dict[str, Any]:
        return {"train": train} if takes_train else {}

    def init(key: jax.Array, inputs: tuple[Any, ...]) -> tuple[Params, ModelState]:
        # Evaluation mode draws no dropout mask, so initialisation needs one stream only.
        model_state = dict(module.init({"params": key}, *arrays(inputs), **mode(train=False)))
        return model_state.pop("params", {}), model_state

    def apply(
        params: Params,
        model_state: ModelState,
        inputs: tuple[Any, ...],
        key: jax.Array | None,
        train: bool,
    ) -> tuple[Any, ModelState]:
        everything, inputs = {"params": params, **model_state}, arrays(inputs)
        rngs = None if key is None else {"dropout": key}
        if not train:
            return module.apply(everything, *inputs, **mode(train), rngs=rngs), model_state
        training = TrainingCalls(ghost_batch_size)
        with nn.intercept_methods(training):
            result = module.apply(
                everything,
                *inputs,
                **mode(train),
                rngs=rngs,
                mutable=list(model_state),
            )
        if ghost_batch_size and not training.normalised:
            raise UserError(
                "config.training.ghost_batch_size: this model does not use the batch norm of "
                "jaxdl.models.layers; leave it out"
            )
        return result

    def initialize_carry(
        params: Params, model_state: ModelState, size: int, conditions: tuple[Any, ...] = ()
    ) -> Carry:
        everything = {"params": params, **model_state}
        return module.apply(everything, size, *arrays(conditions), method="initialize_carry")

    def decode(
        params: Params,
        model_state: ModelState,
        carry: Carry,
        tokens: jax.Array | np.ndarray,
        key: jax.Array | None,
        train: bool,
    ) -> tuple[Any, Carry]:
        with nn.intercept_methods(TrainingCalls()) if train else contextlib.nullcontext():
            return module.apply(
                {"params": params, **model_state},
                *arrays((carry, tokens)),
                train=train,
                rngs=None if key is None else {"dropout": key},
                method="decode",
            )

    def capturing(
        params: Params, model_state: ModelState, inputs: tuple[Any, ...], select: Any
    ) -> tuple[Any, Any]:
        """In evaluation, the outputs, and those of the modules that Linen is to capture."""
        return module.apply(
            {"params": params, **model_state},
            *arrays(inputs),
            **mode(train=False),
            capture_intermediates=select,
            mutable=["intermediates"],
        )

    def features(
        params: Params, model_state: ModelState, inputs: tuple[Any, ...], names: Sequence[str]
    ) -> dict[str, Any]:
        def capture(select: Callable[[str], bool]) -> dict[str, Any]:
            chosen = lambda m, method: method == "__call__" and select("/".join(m.path))  # noqa: E731
            _, sown = capturing(params, model_state, inputs, chosen)
            return outputs_by_path(sown.get("intermediates", {}))

        if isinstance(names, str):
            raise UserError(f"features: expected a list of names, got {names!r}")
        outputs = capture(lambda path: path in names)
        for name in names:
            if name not in outputs:
                raise unknown(name, jax.eval_shape(lambda: capture(bool)))
        return {name: outputs[name] for name in names}

    def inside(
        params: Params,
        model_state: ModelState,
        inputs: tuple[Any, ...],
        added: Mapping[str, Any],
        plain: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        run = functools.partial(capturing, params, model_state, inputs)
        return run_inside(run, added, plain)

    if not hasattr(module, "decode"):
        return Model(init, apply, features=features, inside=inside)
    return Model(init, apply, initialize_carry, decode, features, inside)


def eval_mode(model: Model) -> Model:
    """The model, always in evaluation mode, for fine-tuning.

    Batch norm uses its statistics and leaves them as they are, and nothing is dropped.
    """

    def apply(
        params: Params, model_state: ModelState, inputs: tuple[Any, ...], key: Any, train: bool
    ) -> tuple[Any, ModelState]:
        return model.apply(params, model_state, inputs, key, False)

    return model._replace(apply=apply)

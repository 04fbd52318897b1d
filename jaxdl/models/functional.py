"""A Flax module as a few pure functions, all that the rest of jaxdl sees of a model."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.models.layers import TrainingCalls
from jaxdl.models.modules import outputs_by_path, run_inside
from jaxdl.types import Carry, ModelState, Params


class Model(NamedTuple):
    """`init` and `apply`; of a model that generates sequences also `initialize_carry` and `decode`.

    Such a model goes through a sequence piece by piece. What it remembers between two pieces is
    its carry, a pytree whose leaves all have a leading batch axis. Training on pieces of a long
    text and sampling are both this.

    Attributes:
      init: (key, inputs) -> (params, model_state). `inputs` is the tuple of the model's arguments;
        `model_state` is what training changes without a gradient, such as batch statistics.
      apply: (params, model_state, inputs, key, train) -> (outputs, model_state). `key` feeds
        dropout, and what else is drawn; it may be None where `train` is False.
      initialize_carry: (params, model_state, size, conditions) -> carry, of `size` sequences that
        have not begun, given what they are conditioned on: nothing, a sentence, an image.
      decode: (params, model_state, carry, tokens, key, train) -> (logits, carry), of tokens
        (batch, time) that follow what was written before: the logits of what follows each.
      features: (params, model_state, inputs, names) -> {name: outputs}, of the modules at those
        paths (`layer4/2/conv1`), in evaluation. Under `jit` no more is computed than they need. Of
        a module that is called several times, the last outputs.
      inside: (params, model_state, inputs, added, plain) -> (outputs, {path: outputs}), of all
        modules; see `jaxdl.models.modules.run_inside`.
    """

    init: Callable[..., tuple[Params, ModelState]]
    apply: Callable[..., tuple[Any, ModelState]]
    initialize_carry: Callable[..., Carry] | None = None
    decode: Callable[..., tuple[Any, Carry]] | None = None
    features: Callable[..., dict[str, Any]] | None = None
    inside: Callable[..., tuple[Any, dict[str, Any]]] | None = None


def functional(module: nn.Module, ghost_batch_size: int | None = None) -> Model:
    """The pure functions of a Linen module.

    In training batch norm takes statistics of so many examples each, by default of a whole batch.

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
        model_state = dict(module.init({"params": key}, *_arrays(inputs), **mode(train=False)))
        return model_state.pop("params", {}), model_state

    def apply(
        params: Params,
        model_state: ModelState,
        inputs: tuple[Any, ...],
        key: jax.Array | None,
        train: bool,
    ) -> tuple[Any, ModelState]:
        everything, inputs = {"params": params, **model_state}, _arrays(inputs)
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
                "config.training.ghost_batch_size: this model has no batch norm of "
                "jaxdl.models.layers; leave it out"
            )
        return result

    def initialize_carry(
        params: Params, model_state: ModelState, size: int, conditions: tuple[Any, ...] = ()
    ) -> Carry:
        everything = {"params": params, **model_state}
        return module.apply(everything, size, *_arrays(conditions), method="initialize_carry")

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
                *_arrays((carry, tokens)),
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
            *_arrays(inputs),
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
            raise UserError(f"features: expected names in a list, got {names!r} alone")
        outputs = capture(lambda path: path in names)
        for name in names:
            if name not in outputs:
                raise _unknown(name, jax.eval_shape(lambda: capture(bool)))
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


def _arrays(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """NumPy's arrays as JAX's: a traced index, as of a loop over time, reads no other."""
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, inputs)


def _unknown(name: str, modules: Mapping[str, Any]) -> UserError:
    near = difflib.get_close_matches(name, modules, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    outer = ", ".join(path for path in modules if "/" not in path)
    return UserError(
        f"features: no module {name!r}; {hint}It has {outer or 'none'}, and those inside"
    )

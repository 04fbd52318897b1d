"""A Flax module as a few pure functions, which is all that the rest of jaxdl sees."""

from __future__ import annotations

import contextlib
import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.models.layers import refuse_single_values

Params = Any
Variables = Any
Carry = Any


class Model(NamedTuple):
    """`init` and `apply`; of a model that writes sequences also `begin` and `write`.

    Such a model goes through a sequence piece by piece. What it remembers between two pieces is
    its carry, a pytree whose leaves all have a leading batch axis. Training on pieces of a long
    text and sampling are both this.

    Attributes:
      init: (key, inputs) -> (params, variables). `inputs` is the tuple of the model's arguments;
        `variables` is what training changes without a gradient, such as batch statistics.
      apply: (params, variables, inputs, key, train) -> (outputs, variables). `key` feeds
        dropout; it is unused and may be None where `train` is False.
      begin: (params, variables, size, conditions) -> carry, of `size` sequences that have not
        begun, given what they are conditioned on: nothing, a sentence to translate, an image.
      write: (params, variables, carry, tokens, key, train) -> (logits, carry), of tokens
        (batch, time) that follow what was written before: the logits of what follows each.
      features: (params, variables, inputs, names) -> {name: outputs}, of the modules at those
        paths (`layer4/2/conv1`), in evaluation. Under `jit` no more is computed than they need. Of
        a module that is called several times, the last outputs.
    """

    init: Callable[..., tuple[Params, Variables]]
    apply: Callable[..., tuple[Any, Variables]]
    begin: Callable[..., Carry] | None = None
    write: Callable[..., tuple[Any, Carry]] | None = None
    features: Callable[..., dict[str, Any]] | None = None


def functional(module: nn.Module) -> Model:
    """The pure functions of a Linen module.

    `train` is handed to modules whose `__call__` takes it; others behave alike in both modes.
    Inputs may be NumPy's, which modules then see as JAX's.
    A module that writes sequences has methods `begin(size, *conditions) -> carry` and
    `write(carry, tokens, *, train) -> (logits, carry)`.
    """
    takes_train = "train" in inspect.signature(type(module).__call__).parameters

    def mode(train: bool) -> dict[str, Any]:
        return {"train": train} if takes_train else {}

    def init(key: jax.Array, inputs: tuple[Any, ...]) -> tuple[Params, Variables]:
        # Evaluation mode draws no dropout mask, so initialisation needs one stream only.
        variables = dict(module.init({"params": key}, *_arrays(inputs), **mode(train=False)))
        return variables.pop("params", {}), variables

    def apply(
        params: Params,
        variables: Variables,
        inputs: tuple[Any, ...],
        key: jax.Array | None,
        train: bool,
    ) -> tuple[Any, Variables]:
        everything, inputs = {"params": params, **variables}, _arrays(inputs)
        if not train:
            return module.apply(everything, *inputs, **mode(train)), variables
        with nn.intercept_methods(refuse_single_values):
            return module.apply(
                everything,
                *inputs,
                **mode(train),
                rngs=None if key is None else {"dropout": key},
                mutable=list(variables),
            )

    def begin(
        params: Params, variables: Variables, size: int, conditions: tuple[Any, ...] = ()
    ) -> Carry:
        everything = {"params": params, **variables}
        return module.apply(everything, size, *_arrays(conditions), method="begin")

    def write(
        params: Params,
        variables: Variables,
        carry: Carry,
        tokens: jax.Array | np.ndarray,
        key: jax.Array | None,
        train: bool,
    ) -> tuple[Any, Carry]:
        with nn.intercept_methods(refuse_single_values) if train else contextlib.nullcontext():
            return module.apply(
                {"params": params, **variables},
                *_arrays((carry, tokens)),
                train=train,
                rngs=None if key is None else {"dropout": key},
                method="write",
            )

    def features(
        params: Params, variables: Variables, inputs: tuple[Any, ...], names: Sequence[str]
    ) -> dict[str, Any]:
        def captured(wanted: Callable[[str], bool]) -> dict[str, Any]:
            _, sown = module.apply(
                {"params": params, **variables},
                *_arrays(inputs),
                **mode(train=False),
                capture_intermediates=lambda m, method: (
                    method == "__call__" and wanted("/".join(m.path))
                ),
                mutable=["intermediates"],
            )
            return _outputs(sown.get("intermediates", {}))

        if isinstance(names, str):
            raise UserError(f"features: expected names in a list, got {names!r} alone")
        found = captured(lambda path: path in names)
        for name in names:
            if name not in found:
                raise _unknown(name, jax.eval_shape(lambda: captured(bool)))
        return {name: found[name] for name in names}

    if not hasattr(module, "write"):
        return Model(init, apply, features=features)
    return Model(init, apply, begin, write, features)


def settled(model: Model) -> Model:
    """The model, which behaves in training as in evaluation, for fine-tuning.

    Batch norm uses its statistics and leaves them as they are, and nothing is dropped.
    """

    def apply(
        params: Params, variables: Variables, inputs: tuple[Any, ...], key: Any, train: bool
    ) -> tuple[Any, Variables]:
        return model.apply(params, variables, inputs, None, False)

    return model._replace(apply=apply)


def _arrays(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """NumPy's arrays as JAX's: a traced index, as of a loop over time, reads no other."""
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, inputs)


def _unknown(name: str, there: Mapping[str, Any]) -> UserError:
    near = difflib.get_close_matches(name, there, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    outer = ", ".join(path for path in there if "/" not in path)
    return UserError(
        f"features: no module {name!r}; {hint}It has {outer or 'none'}, and those inside"
    )


def _outputs(captured: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Path -> the last outputs of each module, from what Linen captured."""
    found: dict[str, Any] = {}
    for name, inner in captured.items():
        if isinstance(inner, Mapping):
            found |= _outputs(inner, f"{path}/{name}".lstrip("/"))
        elif name == "__call__" and path:
            found[path] = inner[-1]
    return found

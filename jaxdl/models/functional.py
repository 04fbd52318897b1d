"""A Flax module as a few pure functions, which is all that the rest of jaxdl sees."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax

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
    """

    init: Callable[..., tuple[Params, Variables]]
    apply: Callable[..., tuple[Any, Variables]]
    begin: Callable[..., Carry] | None = None
    write: Callable[..., tuple[Any, Carry]] | None = None


def functional(module: nn.Module) -> Model:
    """The pure functions of a Linen module.

    `train` is handed to modules whose `__call__` takes it; others behave alike in both modes.
    A module that writes sequences has methods `begin(size, *conditions) -> carry` and
    `write(carry, tokens, *, train) -> (logits, carry)`.
    """
    takes_train = "train" in inspect.signature(type(module).__call__).parameters

    def mode(train: bool) -> dict[str, Any]:
        return {"train": train} if takes_train else {}

    def init(key: jax.Array, inputs: tuple[Any, ...]) -> tuple[Params, Variables]:
        # Evaluation mode draws no dropout mask, so initialisation needs one stream only.
        variables = dict(module.init({"params": key}, *inputs, **mode(train=False)))
        return variables.pop("params", {}), variables

    def apply(
        params: Params,
        variables: Variables,
        inputs: tuple[Any, ...],
        key: jax.Array | None,
        train: bool,
    ) -> tuple[Any, Variables]:
        everything = {"params": params, **variables}
        if not train:
            return module.apply(everything, *inputs, **mode(train)), variables
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
        return module.apply(everything, size, *conditions, method="begin")

    def write(
        params: Params,
        variables: Variables,
        carry: Carry,
        tokens: jax.Array,
        key: jax.Array | None,
        train: bool,
    ) -> tuple[Any, Carry]:
        return module.apply(
            {"params": params, **variables},
            carry,
            tokens,
            train=train,
            rngs=None if key is None else {"dropout": key},
            method="write",
        )

    if not hasattr(module, "write"):
        return Model(init, apply)
    return Model(init, apply, begin, write)

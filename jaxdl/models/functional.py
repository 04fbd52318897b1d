"""A Flax module as a pair of pure functions, which is all that the rest of jaxdl sees."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax

Params = Any
Variables = Any


class Model(NamedTuple):
    """`init` and `apply`.

    Attributes:
      init: (key, inputs) -> (params, variables). `inputs` is the tuple of the model's arguments;
        `variables` is what training changes without a gradient, such as batch statistics.
      apply: (params, variables, inputs, key, train) -> (outputs, variables). `key` feeds
        dropout; it is unused and may be None where `train` is False.
    """

    init: Callable[..., tuple[Params, Variables]]
    apply: Callable[..., tuple[Any, Variables]]


def functional(module: nn.Module) -> Model:
    """The pure functions of a Linen module.

    `train` is handed to modules whose `__call__` takes it; others behave alike in both modes.
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

    return Model(init, apply)

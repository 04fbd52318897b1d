"""What all of jaxdl but its models sees of a model: a few pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError, near
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


def arrays(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """NumPy's arrays as JAX's: a traced index, as of a loop over time, reads no other."""
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, inputs)


def unknown(name: str, modules: Mapping[str, Any]) -> UserError:
    """The error that a model has no module of that name, and those near it that it has."""
    outer = ", ".join(path for path in modules if "/" not in path)
    return UserError(
        f"features: no module {name!r}; {near(name, modules, most=3)}it has {outer or 'none'}, and "
        "those inside"
    )

"""The state of a run: everything that a step changes and a checkpoint holds."""

from __future__ import annotations

import hashlib
import math
import zlib
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import optim
from jaxdl.errors import printable
from jaxdl.tree import flatten
from jaxdl.types import Carry, ModelState, Params


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class State:
    """The state of training after some steps.

    Attributes:
      step: number of updates made, int32 scalar.
      seed: seed of the run, uint32 scalar. It never changes: all randomness is folded from
        (seed, purpose, step), so no generator state is carried.
      params: parameters, a pytree.
      model_state: what the model changes without a gradient (batch statistics), a pytree.
      opt_state: the optimiser's, a pytree.
      ema: exponential moving average of the parameters, in float32 at least, or None.
      carry: what a recurrent model remembers from the batch before, if batches continue one
        another, a pytree with a leading batch axis; otherwise None.
    """

    step: Any  # an array, like all leaves; JAX also fills states with shapes and shardings
    seed: Any
    params: Params
    model_state: ModelState
    opt_state: Any
    ema: Params | None = None
    carry: Carry | None = None

    def __repr__(self) -> str:
        held = [f"step {printable(self.step, 40)}"]
        for name in ("params", "model_state", "opt_state", "ema", "carry"):
            if leaves := jax.tree.leaves(getattr(self, name)):
                numbers = sum(math.prod(getattr(leaf, "shape", ())) for leaf in leaves)
                held.append(f"{name}: {numbers:,} numbers in {len(leaves)} arrays")
        return f"State({', '.join(held)})"

    def key(self, purpose: str) -> jax.Array:
        """The random key for a purpose at this step."""
        return fold(self.seed, purpose, self.step)

    @property
    def eval_params(self) -> Any:
        """The parameters to evaluate: their moving average, or those that the optimiser chooses."""
        return optim.eval_params(self.params, self.opt_state) if self.ema is None else self.ema


def fold(seed: Any, purpose: str, step: Any = 0) -> jax.Array:
    """A random key that is a pure function of (seed, purpose, step)."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))
    return jax.random.fold_in(key, step)


def digest(params: Any) -> str:
    """SHA-256 over path, type, shape and bytes of every array of a pytree, in hexadecimal."""
    sha = hashlib.sha256()
    for path, leaf in flatten(params).items():
        array = np.asarray(leaf)
        sha.update(f"{path}:{array.dtype.name}:{array.shape};".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def count(params: Any) -> int:
    """Number of parameters."""
    return sum(int(np.prod(jnp.shape(leaf))) for leaf in jax.tree.leaves(params))

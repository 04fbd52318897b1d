"""`Recurrent`: stacked recurrent layers, in one direction or both, batch-major."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num

from jaxdl.errors import UserError
from jaxdl.kernels import CELLS, Weights, cudnn_lstm, scan_layers
from jaxdl.models.layers import Dropout, Module

Carry = tuple[tuple[Float[Array, "batch hidden"], ...], ...]


class Recurrent(Module):
    """Recurrent layers, stacked.

    Parameters of layer i are `input_kernel_i`, `recurrent_kernel_i` and `bias_i`; those of the
    backward direction end in `_back`. Computes in the type of inputs and parameters.

    Attributes:
      hidden: size of the state of a layer, in one direction.
      layers: how many.
      cell: 'lstm', 'gru' or 'rnn' (Elman's).
      bidirectional: each layer also runs from the end to the start; outputs are side by side.
      dropout: probability that an output of a layer is dropped before the next, in training.
      forget_bias: initial bias of an LSTM's forget gate (Jozefowicz et al. 2015).
      memory: the longest dependency, in steps, if known: the units of an LSTM or GRU start with
        time constants drawn from 1 to this (Tallec and Ollivier 2018, section 3). Over hundreds of
        steps other initialisations forget, or their gradients overflow.
      vocabulary: inputs are token ids below this, which stand for one-hot inputs.
      implementation: 'scan' runs everywhere; 'cudnn' is for LSTMs in float32 on an NVIDIA GPU,
        with padding at the end of sequences only.
    """

    hidden: int
    layers: int = 1
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    bidirectional: bool = False
    dropout: float = 0.0
    forget_bias: float = 1.0
    memory: int | None = None
    vocabulary: int | None = None
    implementation: Literal["scan", "cudnn"] = "scan"

    @nn.compact
    def __call__(
        self,
        inputs: Num[Array, "batch time *features"],
        carry: Carry | None = None,
        mask: Bool[Array, "batch time"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "batch time outputs"], Carry]:
        """Run over the sequences.

        Args:
          inputs: (batch, time, features), or token ids (batch, time) with a vocabulary.
          carry: the states to start from, as an earlier call returned them; by default zeros.
          mask: False at padding, which touches neither states nor gradients.
          train: drop outputs between layers.

        Returns:
          Outputs of the last layer, (batch, time, hidden), or twice as wide in both directions;
          and the states after the last inputs, of the type of `carry`: a tuple over layers,
          forward then backward.

        Raises:
          UserError: a setting is impossible, or inputs are not what `vocabulary` says.
        """
        self._check(inputs)
        features = inputs.shape[-1] if self.vocabulary is None else self.vocabulary
        weights = [self._weights(i, features) for i in range(self.layers)]
        dtype = weights[0][0].input.dtype
        if self.vocabulary is None:
            dtype = jnp.promote_types(dtype, inputs.dtype)
            inputs = inputs.astype(dtype)
        if carry is None:
            carry = self.initialize_carry(len(inputs), dtype)
        weights = jax.tree.map(lambda x: x.astype(dtype), weights)
        x, mask = jnp.swapaxes(inputs, 0, 1), None if mask is None else jnp.transpose(mask)

        run = self._run(dtype)
        dropping = train and self.dropout > 0  # then layers run one by one, dropout between them
        last: list[Any] = []
        for i, group in enumerate([[w] for w in weights] if dropping else [weights]):
            if i:
                x = Dropout(self.dropout, deterministic=False, batch_axis=1)(x)
            count = sum(map(len, group))
            x, new = run(group, x, carry[len(last) : len(last) + count], mask)
            last += new
        carry = jax.tree.map(lambda x, like: x.astype(like.dtype), tuple(last), carry)
        return jnp.swapaxes(x, 0, 1), carry

    @nn.nowrap
    def initialize_carry(self, size: int, dtype: DTypeLike = jnp.float32) -> Carry:
        """The states of `size` sequences that have not begun: zeros."""
        state = (jnp.zeros((size, self.hidden), dtype),) * CELLS[self.cell].states
        return (state,) * (self.layers * (2 if self.bidirectional else 1))

    def _check(self, inputs: jax.Array) -> None:
        for name, least in (("hidden", 1), ("layers", 1), ("vocabulary", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"config.model.{name}: must be at least {least}, got {value}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"config.model.dropout: must be in [0, 1), got {self.dropout}")
        if self.memory is not None and (self.memory < 2 or self.cell == "rnn"):
            raise UserError(
                f"config.model.memory: {self.memory} with {self.cell!r}; it needs an LSTM or GRU, "
                "and at least 2 steps"
            )
        if jnp.issubdtype(inputs.dtype, jnp.integer) != (self.vocabulary is not None):
            raise UserError(
                f"config.model.vocabulary: is {self.vocabulary}, but inputs are {inputs.dtype}; "
                "set it for token ids, and only for these"
            )

    def _weights(self, layer: int, features: int) -> list[Weights]:
        """The parameters of a layer, one for each direction; `features` are the first's inputs."""
        directions = ("", "_back") if self.bidirectional else ("",)
        rows = self.hidden * len(directions) if layer else features
        gates = CELLS[self.cell].gates
        columns = self.hidden * gates
        # Of one-hot inputs one is active at a time, so their fan-in is 1. With smaller rows LSTMs
        # learn late: char-rnn's loss at step 1,000 is then 1.85, and with these 1.74.
        one_hot = self.vocabulary is not None and layer == 0
        inward = nn.initializers.normal(1.0) if one_hot else nn.initializers.lecun_normal()
        inward, orthogonal = (
            _each_gate(init, gates) for init in (inward, nn.initializers.orthogonal())
        )
        return [
            Weights(
                self.param(f"input_kernel_{layer}{way}", inward, (rows, columns)),
                self.param(f"recurrent_kernel_{layer}{way}", orthogonal, (self.hidden, columns)),
                self.param(f"bias_{layer}{way}", self._bias, (columns,)),
            )
            for way in directions
        ]

    @nn.nowrap
    def _bias(self, key: jax.Array, shape: tuple[int]) -> jax.Array:
        biases = [jnp.zeros(self.hidden)] * CELLS[self.cell].gates
        if self.cell == "lstm":
            biases[1] = jnp.full(self.hidden, self.forget_bias)
        if self.memory is not None:
            constants = jax.random.uniform(key, (self.hidden,), minval=1, maxval=self.memory)
            biases[1] = jnp.log(constants)  # a step keeps σ(log m) = m / (m + 1) of the state
            if self.cell == "lstm":
                biases[0] = -biases[1]
        return jnp.concatenate(biases)

    def _run(self, dtype: DTypeLike) -> Callable[..., Any]:
        """What runs layers: (weights, inputs, states, mask) -> (outputs, states).

        Raises:
          UserError: cuDNN cannot run here.
        """
        if self.implementation == "scan":
            return functools.partial(scan_layers, self.cell)
        problem = None
        if self.cell != "lstm":
            problem = f"is for cell='lstm', not {self.cell!r}"
        elif dtype != jnp.float32:
            problem = f"computes in float32, not {dtype}"
        elif jax.default_backend() != "gpu":
            problem = f"needs an NVIDIA GPU, and JAX sees {jax.default_backend()}"
        if problem:
            raise UserError(f"config.model.implementation: 'cudnn' {problem}; choose 'scan'")
        return cudnn_lstm


def _each_gate(init: Any, gates: int) -> Any:
    """Initialises each gate's block of columns as a matrix of its own."""

    def initialise(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        rows, columns = shape
        keys = jax.random.split(key, gates)
        return jnp.concatenate([init(k, (rows, columns // gates)) for k in keys], 1)

    return initialise

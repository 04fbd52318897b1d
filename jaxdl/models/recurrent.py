"""Recurrent layers: LSTM, GRU and Elman's RNN, their gradients written by hand.

A kernel (`lstm`, `gru`, `rnn`) is the recurrence alone, time-major; its inputs are already
multiplied by the input weights, for all time steps in one product. `Recurrent` is what models are
made of: layers of kernels, in one direction or both, batch-major.

Differentiating a scan would carry the gradient of the recurrent weights through every step. Here
the backward loop does only what must be done in order, elementwise work and one product a step;
the weights' gradient is one large product after it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import rnn as cudnn
from jaxtyping import Array, Bool, Float, Num

from jaxdl.errors import UserError

State = tuple[Float[Array, "batch hidden"], ...]
Carry = tuple[tuple[Float[Array, "batch hidden"], ...], ...]


# ---- Kernels


def lstm(
    z: Float[Array, "time batch gates"],
    wh: Float[Array, "hidden gates"],
    state: State,
    mask: Bool[Array, "time batch"] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "time batch hidden"], State]:
    """Long short-term memory with a forget gate (Hochreiter 1997; Gers et al. 2000, section 3).

        i, f, o = σ(z + h wh),  g = tanh(z + h wh),  c' = f c + i g,  h' = o tanh(c')

    Args:
      z: inputs times input weights, plus bias; gates i, f, g, o side by side.
      wh: recurrent weights, gates side by side.
      state: h and c before the first step.
      mask: False where there is no input: the state passes, and the output repeats it.
      reverse: run from the last time step to the first.

    Returns:
      h after each time step, and the state after all of them.
    """
    return _recur(_LSTM, reverse, z, wh, state, mask)


def gru(
    z: Float[Array, "time batch gates"],
    wh: Float[Array, "hidden gates"],
    state: State,
    mask: Bool[Array, "time batch"] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "time batch hidden"], State]:
    """Gated recurrent unit (Cho et al. 2014), the reset gate behind the product as in cuDNN.

        r, u = σ(z + h wh),  n = tanh(z + r (h wh)),  h' = u h + (1 - u) n

    Arguments and results are those of `lstm`; gates are r, u, n, and the state is h alone.
    """
    return _recur(_GRU, reverse, z, wh, state, mask)


def rnn(
    z: Float[Array, "time batch hidden"],
    wh: Float[Array, "hidden hidden"],
    state: State,
    mask: Bool[Array, "time batch"] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "time batch hidden"], State]:
    """The simple recurrent network (Elman 1990): h' = tanh(z + h wh).

    Arguments and results are those of `lstm`; the state is h alone.
    """
    return _recur(_RNN, reverse, z, wh, state, mask)


class _Cell(NamedTuple):
    """One time step but for its product, and the way back, which is linear in the gradient.

    Attributes:
      sigmoids: which gates are sigmoids; their weights are halved, σ(x) = (1 + tanh(x / 2)) / 2.
      forward: (z, product, state), of one step, z and product halved for sigmoids -> (state,
        gates, more to save).
      factors: (gates, more saved, states before, states after), of all steps -> (what the gradient
        of the product is a multiple of, more that is needed).
      backward: (gradient of the state, more), of one step -> (that gradient with what flows from
        one state into another; gradient of the state before, but for what flows through the
        product).
      spread: the former -> what the factors of each gate are multiplied by.
      inputs: (gradient of the product, of the state, more), of all steps -> gradient of z.
    """

    sigmoids: tuple[bool, ...]
    forward: Callable[..., Any]
    factors: Callable[..., Any]
    backward: Callable[..., Any]
    spread: Callable[..., Any]
    inputs: Callable[..., Any]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _recur(cell: _Cell, reverse: bool, z: Any, wh: Any, state: Any, mask: Any) -> Any:
    return _recur_fwd(cell, reverse, z, wh, state, mask)[0]


def _recur_fwd(cell: _Cell, reverse: bool, z: Any, wh: Any, state: Any, mask: Any) -> Any:
    # Stacks are updated in place, gates over z: `lax.scan` would first fill new ones with zeros.
    time = len(z)
    halves = _halves(cell, z)
    folded = wh * halves

    def step(k: jax.Array, at: Any) -> Any:
        state, z, states, more = at
        t = time - 1 - k if reverse else k
        new, gates, saved = cell.forward(z[t] * halves, state[0] @ folded, state)
        new = _where(None if mask is None else mask[t], new, state)
        return new, *_put((z, states, more), t, (gates, new, saved))

    def blank(like: Any) -> Any:
        return jax.tree.map(lambda x: jnp.zeros((time, *x.shape), x.dtype), like)

    one = jax.ShapeDtypeStruct(z.shape[1:], z.dtype)
    more = jax.eval_shape(cell.forward, one, one, state)[2]
    start = (state, z, blank(state), blank(more))
    last, gates, states, more = lax.fori_loop(0, time, step, start)
    return (states[0], last), (gates, more, state, states, wh, mask)


def _recur_bwd(cell: _Cell, reverse: bool, residuals: Any, gradients: Any) -> Any:
    # What can be computed for all steps at once is, by XLA's large loops, which are vectorised
    # and threaded: the same work in the body of the loop takes as long as the products.
    gates, more, first, states, wh, mask = residuals
    doutputs, dlast = gradients
    time = len(gates)
    before = tuple(_shifted(s, end, reverse) for s, end in zip(states, first, strict=True))
    factors, more = cell.factors(gates, more, before, states)
    if mask is not None:
        factors, more = jax.tree.map(lambda x: jnp.where(mask[..., None], x, 0), (factors, more))
    back = wh.T

    def step(k: jax.Array, at: Any) -> Any:
        (dh, *others), stacks = at
        t = k if reverse else time - 1 - k
        dstate = (dh + doutputs[t], *others)
        whole, direct = cell.backward(dstate, jax.tree.map(lambda x: x[t], more))
        direct = _where(None if mask is None else mask[t], direct, dstate)
        dh = direct[0] + (factors[t] * cell.spread(whole)) @ back
        return (dh, *direct[1:]), _put(stacks, t, whole)

    start = (dlast, tuple(map(jnp.zeros_like, states)))
    dstate, whole = lax.fori_loop(0, time, step, start)
    dproduct = factors * cell.spread(whole)
    dwh = lax.dot_general(before[0], dproduct, (((0, 1), (0, 1)), ((), ())))
    return cell.inputs(dproduct, whole, more), dwh, dstate, None


_recur.defvjp(_recur_fwd, _recur_bwd)


def _halves(cell: _Cell, z: jax.Array) -> jax.Array:
    """What z and product are multiplied by, a gate each: ½ for sigmoids."""
    each = jnp.where(jnp.array(cell.sigmoids), 0.5, 1).astype(z.dtype)
    return jnp.repeat(each, z.shape[-1] // len(cell.sigmoids))


def _put(stacks: Any, t: jax.Array, values: Any) -> Any:
    put = functools.partial(lax.dynamic_update_index_in_dim, index=t, axis=0)
    return jax.tree.map(put, stacks, values)


def _shifted(states: jax.Array, end: jax.Array, reverse: bool) -> jax.Array:
    """The states before each step, from those after it and the one before them all."""
    if reverse:
        return jnp.concatenate([states, end[None]])[1:]
    return jnp.concatenate([end[None], states])[:-1]


def _where(valid: Any, new: Any, old: Any) -> Any:
    if valid is None:
        return new
    return tuple(jnp.where(valid[:, None], n, o) for n, o in zip(new, old, strict=True))


def _lstm_forward(z: Any, product: Any, state: Any) -> Any:
    hidden = state[0].shape[-1]
    slope, base = (jnp.repeat(jnp.array(v, z.dtype), hidden) for v in _SIGMOID_BUT_G)
    gates = jnp.tanh(z + product) * slope + base
    i, f, g, o = jnp.split(gates, 4, -1)
    c = f * state[1] + i * g
    return (o * jnp.tanh(c), c), gates, ()


def _lstm_factors(gates: Any, more: Any, before: Any, after: Any) -> Any:
    i, f, g, o = jnp.split(gates, 4, -1)
    t = jnp.tanh(after[1])
    each = [g * i * (1 - i), before[1] * f * (1 - f), i * (1 - g * g), t * o * (1 - o)]
    return jnp.concatenate(each, -1), (o * (1 - t * t), f)


def _lstm_backward(dstate: Any, more: Any) -> Any:
    (dh, dc), (slope, f) = dstate, more
    dc = dc + dh * slope
    return (dh, dc), (jnp.zeros_like(dh), dc * f)


def _lstm_spread(dstate: Any) -> Any:
    dh, dc = dstate
    return jnp.concatenate([dc, dc, dc, dh], -1)


def _gru_forward(z: Any, product: Any, state: Any) -> Any:
    (h,) = state
    hidden = h.shape[-1]
    gates = 0.5 * jnp.tanh(z[:, : 2 * hidden] + product[:, : 2 * hidden]) + 0.5
    r, u = jnp.split(gates, 2, -1)
    n = jnp.tanh(z[:, 2 * hidden :] + r * product[:, 2 * hidden :])
    gates = jnp.concatenate([gates, n], -1)
    return (u * h + (1 - u) * n,), gates, (product[:, 2 * hidden :],)


def _gru_factors(gates: Any, more: Any, before: Any, after: Any) -> Any:
    r, u, n = jnp.split(gates, 3, -1)
    slope = (1 - u) * (1 - n * n)
    each = [slope * more[0] * r * (1 - r), (before[0] - n) * u * (1 - u), slope * r]
    return jnp.concatenate(each, -1), (slope, u)


def _gru_backward(dstate: Any, more: Any) -> Any:
    return dstate, (dstate[0] * more[1],)


def _gru_spread(dstate: Any) -> Any:
    return jnp.concatenate([dstate[0]] * 3, -1)


def _gru_inputs(dproduct: Any, dstate: Any, more: Any) -> Any:
    r, u, _ = jnp.split(dproduct, 3, -1)
    return jnp.concatenate([r, u, dstate[0] * more[0]], -1)


def _rnn_forward(z: Any, product: Any, state: Any) -> Any:
    h = jnp.tanh(z + product)
    return (h,), h, ()


def _rnn_factors(gates: Any, more: Any, before: Any, after: Any) -> Any:
    return 1 - gates * gates, ()


def _rnn_backward(dstate: Any, more: Any) -> Any:
    return dstate, (jnp.zeros_like(dstate[0]),)


def _rnn_spread(dstate: Any) -> Any:
    return dstate[0]


def _same(dproduct: Any, dstate: Any, more: Any) -> Any:
    """The gradient of z where the product is only added to it."""
    return dproduct


_SIGMOID_BUT_G = (0.5, 0.5, 1.0, 0.5), (0.5, 0.5, 0.0, 0.5)
_LSTM = _Cell(
    (True, True, False, True), _lstm_forward, _lstm_factors, _lstm_backward, _lstm_spread, _same
)
_GRU = _Cell(
    (True, True, False), _gru_forward, _gru_factors, _gru_backward, _gru_spread, _gru_inputs
)
_RNN = _Cell((False,), _rnn_forward, _rnn_factors, _rnn_backward, _rnn_spread, _same)

_KERNELS: dict[str, Callable[..., Any]] = {"lstm": lstm, "gru": gru, "rnn": rnn}
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}
_STATES = {"lstm": 2, "gru": 1, "rnn": 1}


# ---- Layers


class Recurrent(nn.Module):
    """Recurrent layers, stacked.

    Parameters of layer i are `input_kernel_i`, `recurrent_kernel_i` and `bias_i`, with `_back`
    behind the name for the backward direction. Computes in the type of inputs and parameters.

    Attributes:
      hidden: size of the state of a layer, in one direction.
      layers: how many.
      cell: 'lstm', 'gru' or 'rnn' (Elman's).
      bidirectional: each layer also runs from the end to the start; outputs are side by side.
      dropout: probability that an output of a layer is dropped before the next, in training.
      forget_bias: what the bias of an LSTM's forget gate starts from (Jozefowicz et al. 2015).
      memory: the most steps between what belongs together, if known: the units of an LSTM or GRU
        start with time constants drawn from 1 to this (Tallec and Ollivier 2018, section 3). Over
        hundreds of steps other starts forget, or their gradients overflow.
      vocabulary: inputs are token ids, and the first layer takes them as if one-hot, this wide.
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
          and the states behind the last inputs, of the type of those given: a tuple over layers,
          forward then backward.

        Raises:
          UserError: a setting is impossible, or inputs are not what `vocabulary` says.
        """
        self._check(inputs)
        width = inputs.shape[-1] if self.vocabulary is None else self.vocabulary
        weights = [self._weights(i, width) for i in range(self.layers)]
        kind = weights[0][0].input.dtype
        if self.vocabulary is None:
            kind = jnp.promote_types(kind, inputs.dtype)
            inputs = inputs.astype(kind)
        weights = jax.tree.map(lambda w: w.astype(kind), weights)
        given = self.begin(len(inputs), kind) if carry is None else carry
        states = jax.tree.map(lambda s: s.astype(kind), given)
        x, valid = jnp.swapaxes(inputs, 0, 1), None if mask is None else jnp.transpose(mask)

        run = self._cudnn(kind) if self.implementation == "cudnn" else self._scan()
        dropping = train and self.dropout > 0
        parts = [[w] for w in weights] if dropping else [weights]
        last: list[Any] = []
        for i, part in enumerate(parts):
            if i:
                x = nn.Dropout(self.dropout, deterministic=False)(x)
            size = sum(map(len, part))
            x, new = run(part, x, states[len(last) : len(last) + size], valid)
            last += new
        carry = jax.tree.map(lambda s, like: s.astype(like.dtype), tuple(last), given)
        return jnp.swapaxes(x, 0, 1), carry

    @nn.nowrap
    def begin(self, size: int, dtype: Any = jnp.float32) -> Carry:
        """The states of `size` sequences that have not begun: zeros."""
        state = (jnp.zeros((size, self.hidden), dtype),) * _STATES[self.cell]
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

    def _weights(self, layer: int, width: int) -> list[_Weights]:
        """The parameters of a layer, each direction's; `width` is that of the first's inputs."""
        directions = ("", "_back") if self.bidirectional else ("",)
        rows = self.hidden * len(directions) if layer else width
        columns = self.hidden * _GATES[self.cell]
        # Of one-hot inputs one is active at a time, so their fan-in is 1. With smaller rows LSTMs
        # learn late: char-rnn's loss at step 1,000 is then 1.85, and 1.74 so.
        one_hot = self.vocabulary is not None and layer == 0
        inward = nn.initializers.normal(1.0) if one_hot else nn.initializers.lecun_normal()
        inward, orthogonal = (
            _each(init, _GATES[self.cell]) for init in (inward, nn.initializers.orthogonal())
        )
        return [
            _Weights(
                self.param(f"input_kernel_{layer}{way}", inward, (rows, columns)),
                self.param(f"recurrent_kernel_{layer}{way}", orthogonal, (self.hidden, columns)),
                self.param(f"bias_{layer}{way}", self._bias, (columns,)),
            )
            for way in directions
        ]

    @nn.nowrap
    def _bias(self, key: jax.Array, shape: tuple[int]) -> jax.Array:
        gates = dict.fromkeys(range(_GATES[self.cell]), jnp.zeros(self.hidden))
        if self.cell == "lstm":
            gates[1] = jnp.full(self.hidden, self.forget_bias)
        if self.memory is not None:  # keeps u / (u + 1) a step, takes 1 / (u + 1)
            keep = jnp.log(jax.random.uniform(key, (self.hidden,), minval=1, maxval=self.memory))
            gates |= {0: -keep, 1: keep} if self.cell == "lstm" else {1: keep}
        return jnp.concatenate(list(gates.values()))

    def _scan(self) -> Callable[..., Any]:
        return functools.partial(_scan, _KERNELS[self.cell])

    def _cudnn(self, kind: Any) -> Callable[..., Any]:
        """`_cudnn`, where it can run.

        Raises:
          UserError: it cannot.
        """
        problem = None
        if self.cell != "lstm":
            problem = f"is for cell='lstm', not {self.cell!r}"
        elif kind != jnp.float32:
            problem = f"computes in float32, not {kind}"
        elif jax.default_backend() != "gpu":
            problem = f"needs an NVIDIA GPU, and JAX sees {jax.default_backend()}"
        if problem:
            raise UserError(f"config.model.implementation: 'cudnn' {problem}; choose 'scan'")
        return _cudnn


class _Weights(NamedTuple):
    """The weights of one layer in one direction."""

    input: jax.Array
    recurrent: jax.Array
    bias: jax.Array


def _each(init: Any, gates: int) -> Any:
    """Initialise gates apart: their weights lie side by side, but they are matrices each."""

    def initialise(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        rows, columns = shape
        keys = jax.random.split(key, gates)
        return jnp.concatenate([init(k, (rows, columns // gates)) for k in keys], 1)

    return initialise


def _scan(kernel: Any, layers: Any, x: jax.Array, states: Any, mask: Any) -> Any:
    """Layers of a kernel. Everything is time-major; returns outputs and last states."""
    last: list[Any] = []
    for layer in layers:
        outputs = []
        for way, weights in enumerate(layer):
            y, state = kernel(
                _project(x, weights), weights.recurrent, states[len(last)], mask, reverse=way == 1
            )
            outputs.append(y)
            last.append(state)
        x = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, -1)
    return x, last


def _project(x: jax.Array, weights: _Weights) -> jax.Array:
    """Inputs of all time steps by the input weights, plus the bias.

    Rows are picked for token ids. The gradient adds them up one by one, which takes a CPU a tenth
    of the time of a one-hot product at 66 rows, and less at more.
    """
    if jnp.issubdtype(x.dtype, jnp.integer):
        return (weights.input + weights.bias)[x]
    return x @ weights.input + weights.bias


# ---- cuDNN


def _cudnn(layers: Any, x: jax.Array, states: Any, mask: Any) -> Any:
    """As `_scan` of `lstm`, by cuDNN."""
    time, batch = x.shape[:2]
    width, columns = layers[0][0].input.shape
    if jnp.issubdtype(x.dtype, jnp.integer):
        x = jax.nn.one_hot(x, width, dtype=layers[0][0].input.dtype)
    lengths = jnp.full(batch, time) if mask is None else jnp.sum(mask, 0)
    h, c = (jnp.stack(parts) for parts in zip(*states, strict=True))
    both = len(layers[0]) == 2
    y, *last = cudnn.lstm(
        jnp.swapaxes(x, 0, 1), h, c, _packed(layers), lengths.astype(jnp.int32),
        width, columns // 4, len(layers), 0.0, both,
    )  # fmt: skip
    y = jnp.swapaxes(y, 0, 1)
    if mask is not None:  # cuDNN's outputs are zero at padding
        rest = jnp.concatenate([last[0][-2], h[-1]], -1) if both else last[0][-1]
        y = jnp.where(mask[..., None], y, rest)
    return y, list(zip(*last, strict=True))


def _packed(layers: Any) -> jax.Array:
    """The weights in the order that cuDNN takes: all matrices, then all biases, two a layer."""
    flat = [weights for layer in layers for weights in layer]
    matrices = [matrix.T for w in flat for matrix in (w.input, w.recurrent)]
    biases = [bias for w in flat for bias in (w.bias, jnp.zeros_like(w.bias))]
    return jnp.concatenate([part.ravel() for part in matrices + biases])

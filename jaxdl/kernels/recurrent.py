"""Recurrences: LSTM, GRU and Elman's RNN, with gradients written by hand, and cuDNN's LSTM.

`lstm`, `gru` and `rnn` are one layer in one direction, time-major. They take inputs that are
already multiplied by the input weights, for all time steps in one product. `scan_layers` and
`cudnn_lstm` run several layers.

Differentiating a scan would carry the gradient of the recurrent weights through every step. Here
the backward loop does only what must be done in order, elementwise work and one product a step;
the gradient of the weights is one large product after the loop.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import rnn as cudnn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num

from jaxdl.kernels.matmul import in_bfloat16, matmul, product

State = tuple[Float[Array, "batch hidden"], ...]  # h, and c of an LSTM
Mask = Bool[Array, "time batch"]
Arrays = tuple[jax.Array, ...]
CellName = Literal["lstm", "gru", "rnn"]


# ---- One layer in one direction


def lstm(
    z: Float[Array, "time batch gates"],
    wh: Float[Array, "hidden gates"],
    state: State,
    mask: Mask | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "time batch hidden"], State]:
    """Long short-term memory with a forget gate (Hochreiter 1997; Gers et al. 2000, section 3).

        i, f, o = σ(z + h wh),  g = tanh(z + h wh),  c' = f c + i g,  h' = o tanh(c')

    Args:
      z: inputs times input weights, plus bias; gates i, f, g, o side by side.
      wh: recurrent weights, gates side by side.
      state: h and c before the first step.
      mask: False at padding, where the state stays as it is and the output repeats it.
      reverse: run from the last time step to the first.

    Returns:
      h after each time step, and the state after all of them.
    """
    return _recur(CELLS["lstm"], reverse, z, wh, state, mask)


def gru(
    z: Float[Array, "time batch gates"],
    wh: Float[Array, "hidden gates"],
    state: State,
    mask: Mask | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "time batch hidden"], State]:
    """Gated recurrent unit (Cho et al. 2014), its reset gate applied after the product as in cuDNN.

        r, u = σ(z + h wh),  n = tanh(z + r (h wh)),  h' = u h + (1 - u) n

    Arguments and results are those of `lstm`; gates are r, u, n, and the state is h alone.
    """
    return _recur(CELLS["gru"], reverse, z, wh, state, mask)


def rnn(
    z: Float[Array, "time batch hidden"],
    wh: Float[Array, "hidden hidden"],
    state: State,
    mask: Mask | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "time batch hidden"], State]:
    """The simple recurrent network (Elman 1990): h' = tanh(z + h wh).

    Arguments and results are those of `lstm`; the state is h alone.
    """
    return _recur(CELLS["rnn"], reverse, z, wh, state, mask)


# ---- The cells


class Cell(ABC):
    """One time step of a recurrence and its gradient, without the products by recurrent weights.

    With p = h wh, a step computes the state after it, s', from z, p and the state before it, s.
    Its gradient is linear in ds', and what multiplies ds' is known before the backward loop:

        dp = slopes * gate_gradients(ds')        dh = direct(ds') + dp whᵀ        dz = dp

    `slopes` and the other coefficients are computed for all time steps at once. Then the loop goes
    back through the steps with `backward`, and after it dz and the gradient of wh, Σ hᵀ dp over
    time, follow for all steps at once again.

    Sigmoids are computed as σ(x) = ½ + ½ tanh(½ x): all gates are then one call of tanh, and the
    inner ½ is multiplied into wh once, outside the loop.

    Attributes:
      scales: what each gate's z and p are multiplied by before tanh: ½ for sigmoids, otherwise 1.
      states: arrays in the state.
    """

    scales: ClassVar[tuple[float, ...]]
    states: ClassVar[int]

    @property
    def gates(self) -> int:
        """Blocks of columns in the weights."""
        return len(self.scales)

    @abstractmethod
    def forward(
        self, z: jax.Array, p: jax.Array, state: Arrays
    ) -> tuple[Arrays, jax.Array, Arrays]:
        """One step: the new state, the gates, and what else `coefficients` needs.

        z and p are already multiplied by `scales`.
        """

    @abstractmethod
    def coefficients(
        self, gates: jax.Array, saved: Arrays, before: Arrays, after: Arrays
    ) -> tuple[jax.Array, Arrays]:
        """Of all steps: `slopes`, and what `backward` and `input_gradient` multiply by.

        Args:
          gates, saved: as `forward` returned them.
          before, after: the states before and after each step.
        """

    @abstractmethod
    def backward(self, dstate: Arrays, coefficients: Arrays) -> tuple[Arrays, Arrays]:
        """One step: the whole of ds', and the part of ds that does not go through p.

        `dstate` is ds' as later steps and the output see it; the whole adds what one array of the
        state receives through another, as c' does through h'.
        """

    def gate_gradients(self, dstate: Arrays) -> jax.Array:
        """The gradient of the array of the state that each gate goes into, gates side by side."""
        return jnp.concatenate([dstate[0]] * self.gates, -1)

    def input_gradient(self, dp: jax.Array, dstate: Arrays, coefficients: Arrays) -> jax.Array:
        """dz of all steps: dp, where p is only added to z."""
        return dp


class _LSTM(Cell):
    """Gates i, f, o = σ(z + p), g = tanh(z + p); state (h, c).

    Forward:

        c' = f c + i g                h' = o t,  t = tanh(c')

    Backward, where dc' on the right is that of the next step:

        dc' = dc' + dh' o (1 - t²)    dc = f dc'
        dp_i = dc' g i (1 - i)        dp_f = dc' c f (1 - f)
        dp_g = dc' i (1 - g²)         dp_o = dh' t o (1 - o)
    """

    scales = (0.5, 0.5, 1.0, 0.5)
    states = 2

    def forward(
        self, z: jax.Array, p: jax.Array, state: Arrays
    ) -> tuple[Arrays, jax.Array, Arrays]:
        h, c = state
        scale, shift = (
            _by_gate(values, h.shape[-1], z.dtype)
            for values in (self.scales, [1 - scale for scale in self.scales])
        )
        gates = jnp.tanh(z + p) * scale + shift
        i, f, g, o = jnp.split(gates, 4, -1)
        c = f * c + i * g
        return (o * jnp.tanh(c), c), gates, ()

    def coefficients(
        self, gates: jax.Array, saved: Arrays, before: Arrays, after: Arrays
    ) -> tuple[jax.Array, Arrays]:
        i, f, g, o = jnp.split(gates, 4, -1)
        c, t = before[1], jnp.tanh(after[1])
        slopes = [g * i * (1 - i), c * f * (1 - f), i * (1 - g * g), t * o * (1 - o)]
        return jnp.concatenate(slopes, -1), (o * (1 - t * t), f)

    def backward(self, dstate: Arrays, coefficients: Arrays) -> tuple[Arrays, Arrays]:
        (dh, dc), (c_to_h, f) = dstate, coefficients
        dc = dc + dh * c_to_h
        return (dh, dc), (jnp.zeros_like(dh), dc * f)

    def gate_gradients(self, dstate: Arrays) -> jax.Array:
        dh, dc = dstate
        return jnp.concatenate([dc, dc, dc, dh], -1)


class _GRU(Cell):
    """Gates r, u = σ(z + p), n = tanh(z + r p); state (h,).

    Forward:

        h' = u h + (1 - u) n

    Backward:

        dz_n = dh' (1 - u) (1 - n²)   dp_n = r dz_n
        dp_r = p_n r (1 - r) dz_n     dp_u = dh' (h - n) u (1 - u)
        dh = u dh' + dp whᵀ           dz_r, dz_u = dp_r, dp_u
    """

    scales = (0.5, 0.5, 1.0)
    states = 1

    def forward(
        self, z: jax.Array, p: jax.Array, state: Arrays
    ) -> tuple[Arrays, jax.Array, Arrays]:
        (h,) = state
        two = 2 * h.shape[-1]
        ru = 0.5 * jnp.tanh(z[:, :two] + p[:, :two]) + 0.5
        r, u = jnp.split(ru, 2, -1)
        n = jnp.tanh(z[:, two:] + r * p[:, two:])
        return (u * h + (1 - u) * n,), jnp.concatenate([ru, n], -1), (p[:, two:],)

    def coefficients(
        self, gates: jax.Array, saved: Arrays, before: Arrays, after: Arrays
    ) -> tuple[jax.Array, Arrays]:
        r, u, n = jnp.split(gates, 3, -1)
        (p_n,), (h,) = saved, before
        dz_n = (1 - u) * (1 - n * n)  # over dh'
        slopes = [dz_n * p_n * r * (1 - r), (h - n) * u * (1 - u), dz_n * r]
        return jnp.concatenate(slopes, -1), (dz_n, u)

    def backward(self, dstate: Arrays, coefficients: Arrays) -> tuple[Arrays, Arrays]:
        (dh,), (_, u) = dstate, coefficients
        return dstate, (dh * u,)

    def input_gradient(self, dp: jax.Array, dstate: Arrays, coefficients: Arrays) -> jax.Array:
        dp_r, dp_u, _ = jnp.split(dp, 3, -1)
        (dh,), (dz_n, _) = dstate, coefficients
        return jnp.concatenate([dp_r, dp_u, dh * dz_n], -1)


class _RNN(Cell):
    """State (h,). Forward: h' = tanh(z + p). Backward: dp = dh' (1 - h'²), dh = dp whᵀ."""

    scales = (1.0,)
    states = 1

    def forward(
        self, z: jax.Array, p: jax.Array, state: Arrays
    ) -> tuple[Arrays, jax.Array, Arrays]:
        h = jnp.tanh(z + p)
        return (h,), h, ()

    def coefficients(
        self, gates: jax.Array, saved: Arrays, before: Arrays, after: Arrays
    ) -> tuple[jax.Array, Arrays]:
        return 1 - gates * gates, ()

    def backward(self, dstate: Arrays, coefficients: Arrays) -> tuple[Arrays, Arrays]:
        return dstate, (jnp.zeros_like(dstate[0]),)

    def gate_gradients(self, dstate: Arrays) -> jax.Array:
        return dstate[0]


CELLS: dict[str, Cell] = {"lstm": _LSTM(), "gru": _GRU(), "rnn": _RNN()}


def _by_gate(values: Sequence[float], hidden: int, dtype: Any) -> jax.Array:
    """A number for each gate, repeated for each of its units."""
    return jnp.repeat(jnp.array(values, dtype), hidden)


# ---- The loops over time


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _recur(
    cell: Cell, reverse: bool, z: jax.Array, wh: jax.Array, state: Arrays, mask: jax.Array | None
) -> tuple[jax.Array, Arrays]:
    return _recur_fwd(cell, reverse, z, wh, state, mask)[0]


def _recur_fwd(
    cell: Cell, reverse: bool, z: jax.Array, wh: jax.Array, state: Arrays, mask: jax.Array | None
) -> Any:
    # The loop writes into arrays over all time steps, and gates over z. `lax.scan` would allocate
    # new arrays and fill them with zeros first.
    time = len(z)
    scale = _by_gate(cell.scales, len(wh), z.dtype)
    scaled_wh = (wh * scale).astype(wh.dtype)

    def step(k: jax.Array, loop: Any) -> Any:
        state, z, states, saved = loop
        t = time - 1 - k if reverse else k
        new, gates, extra = cell.forward(z[t] * scale, matmul(state[0], scaled_wh), state)
        new = _unless_padding(mask, t, new, state)
        return new, *_write((z, states, saved), t, (gates, new, extra))

    def over_time(x: Any) -> jax.Array:
        return jnp.zeros((time, *x.shape), x.dtype)

    one = jax.ShapeDtypeStruct(z.shape[1:], z.dtype)
    extra = jax.eval_shape(cell.forward, one, one, state)[2]
    start = (state, z, *jax.tree.map(over_time, (state, extra)))
    last, gates, states, saved = lax.fori_loop(0, time, step, start)
    return (states[0], last), (gates, saved, state, states, wh, mask)


def _recur_bwd(cell: Cell, reverse: bool, residuals: Any, cotangents: Any) -> Any:
    # Whatever can be computed for all steps at once is: XLA vectorises and threads large loops,
    # and inside the loop over time the same work would take as long as the products.
    gates, saved, first, after, wh, mask = residuals
    doutputs, dlast = cotangents
    time = len(gates)
    before = tuple(_shifted(s, start, reverse) for s, start in zip(after, first, strict=True))
    slopes, coefficients = cell.coefficients(gates, saved, before, after)
    if mask is not None:
        slopes, coefficients = jax.tree.map(
            lambda x: jnp.where(mask[..., None], x, 0), (slopes, coefficients)
        )
    wh_transposed = wh.T

    def step(k: jax.Array, loop: Any) -> Any:
        (dh, *others), dstates = loop
        t = k if reverse else time - 1 - k
        dstate = (dh + doutputs[t], *others)
        whole, direct = cell.backward(dstate, jax.tree.map(lambda x: x[t], coefficients))
        direct = _unless_padding(mask, t, direct, dstate)
        dh = direct[0] + matmul(slopes[t] * cell.gate_gradients(whole), wh_transposed)
        return (dh, *direct[1:]), _write(dstates, t, whole)

    start = (dlast, tuple(map(jnp.zeros_like, after)))
    dfirst, dstates = lax.fori_loop(0, time, step, start)
    dp = slopes * cell.gate_gradients(dstates)
    h, dp_rows = (x.reshape(-1, x.shape[-1]) for x in (before[0], dp))
    dwh = product(h, dp_rows.astype(wh.dtype), transpose_a=True).astype(wh.dtype)
    return cell.input_gradient(dp, dstates, coefficients), dwh, dfirst, None


_recur.defvjp(_recur_fwd, _recur_bwd)


def _write(arrays: Any, t: jax.Array, values: Any) -> Any:
    """The arrays over time, with those of step t replaced."""
    write = functools.partial(lax.dynamic_update_index_in_dim, index=t, axis=0)
    return jax.tree.map(write, arrays, values)


def _shifted(after: jax.Array, first: jax.Array, reverse: bool) -> jax.Array:
    """The states before each step, from those after each step and the one before them all."""
    if reverse:
        return jnp.concatenate([after, first[None]])[1:]
    return jnp.concatenate([first[None], after])[:-1]


def _unless_padding(mask: jax.Array | None, t: jax.Array, new: Arrays, old: Arrays) -> Arrays:
    if mask is None:
        return new
    valid = mask[t][:, None]
    return tuple(jnp.where(valid, n, o) for n, o in zip(new, old, strict=True))


# ---- Several layers


class Weights(NamedTuple):
    """The weights of one layer in one direction, gates side by side.

    Attributes:
      input: (inputs, gates * hidden).
      recurrent: (hidden, gates * hidden).
      bias: (gates * hidden,).
    """

    input: jax.Array
    recurrent: jax.Array
    bias: jax.Array


Layers = Sequence[Sequence[Weights]]  # of each layer, forward and, in both directions, backward
Run = tuple[Float[Array, "time batch outputs"], list[State]]


def scan_layers(
    cell: CellName,
    layers: Layers,
    x: Num[Array, "time batch *features"],
    states: Sequence[State],
    mask: Mask | None,
) -> Run:
    """Layers of a cell, one after the other.

    Args:
      cell: 'lstm', 'gru' or 'rnn'.
      layers: the weights.
      x: inputs, or token ids, which stand for one-hot inputs.
      states: to start from, of each layer and direction, of any type.
      mask: False at padding.

    Returns:
      The outputs of the last layer, directions side by side, and the states after the last inputs.
    """
    kernel = {"lstm": lstm, "gru": gru, "rnn": rnn}[cell]
    last: list[State] = []
    for layer in layers:
        outputs = []
        for direction, weights in enumerate(layer):
            wh, state = weights.recurrent, states[len(last)]
            # Where oneDNN multiplies in bfloat16, all else is in float32, at which XLA is faster.
            dtype = jnp.float32 if in_bfloat16(state[0], wh) else wh.dtype
            state = tuple(s.astype(dtype) for s in state)
            y, state = kernel(_project(x, weights, dtype), wh, state, mask, reverse=direction == 1)
            outputs.append(y.astype(wh.dtype))
            last.append(state)
        x = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, -1)
    return x, last


def _project(x: jax.Array, weights: Weights, dtype: DTypeLike) -> jax.Array:
    """Inputs of all time steps times the input weights, plus the bias, in this type.

    For token ids, rows are gathered. The gradient adds them up one by one, which takes a CPU a
    tenth of the time of a one-hot product with 66 tokens, and less with more.
    """
    if jnp.issubdtype(x.dtype, jnp.integer):
        return (weights.input + weights.bias).astype(dtype)[x]
    return matmul(x.astype(dtype), weights.input) + weights.bias.astype(dtype)


def cudnn_lstm(
    layers: Layers,
    x: Num[Array, "time batch *features"],
    states: Sequence[State],
    mask: Mask | None,
) -> Run:
    """What `scan_layers` computes of LSTMs, by cuDNN: float32, padding at the end only."""
    time, batch = x.shape[:2]
    inputs, columns = layers[0][0].input.shape
    if jnp.issubdtype(x.dtype, jnp.integer):
        x = jax.nn.one_hot(x, inputs, dtype=layers[0][0].input.dtype)
    lengths = jnp.full(batch, time) if mask is None else jnp.sum(mask, 0)
    h, c = (jnp.stack(arrays).astype(jnp.float32) for arrays in zip(*states, strict=True))
    bidirectional = len(layers[0]) == 2
    y, *last = cudnn.lstm(
        jnp.swapaxes(x, 0, 1), h, c, _packed(layers), lengths.astype(jnp.int32),
        inputs, columns // 4, len(layers), 0.0, bidirectional,
    )  # fmt: skip
    y = jnp.swapaxes(y, 0, 1)
    if mask is not None:  # cuDNN's outputs are zero at padding, ours repeat the state
        rest = jnp.concatenate([last[0][-2], h[-1]], -1) if bidirectional else last[0][-1]
        y = jnp.where(mask[..., None], y, rest)
    return y, list(zip(*last, strict=True))


def _packed(layers: Layers) -> jax.Array:
    """The weights in cuDNN's order: all matrices, then all biases, of which it has two a layer."""
    flat = [weights for layer in layers for weights in layer]
    matrices = [matrix.T for w in flat for matrix in (w.input, w.recurrent)]
    biases = [bias for w in flat for bias in (w.bias, jnp.zeros_like(w.bias))]
    return jnp.concatenate([part.ravel() for part in matrices + biases])

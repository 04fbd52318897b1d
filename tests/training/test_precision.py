"""Types are what the policy says."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl
from jaxdl.models import MLP
from jaxdl.models.layers import BatchNorm

TASK = jaxdl.Classification(classes=3, input="features")
OPTIMIZER = optax.adam(1e-2)
RNG = np.random.default_rng(0)
BATCH = {
    "features": RNG.normal(size=(12, 4)).astype(np.float32),
    "label": RNG.integers(0, 3, 12).astype(np.int32),
}
SEEN = []


class Watched(nn.Module):
    """Notes the types that it is given, and gives back."""

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = BatchNorm()(nn.Dense(5)(x), train=train)
        y = MLP(outputs=3)(x)
        SEEN[:] = [x.dtype.name, y.dtype.name]
        return y


def parts(precision):
    model = jaxdl.functional(Watched())
    start = lambda batch: jaxdl.init(model, TASK, OPTIMIZER, batch, precision=precision)  # noqa: E731
    return start, jaxdl.make_step(model, TASK, OPTIMIZER, precision=precision)


def stepped(precision):
    """Types and shapes of the state before a step, behind it, and of its summary."""
    start, step = parts(precision)
    state = jax.eval_shape(start, BATCH)
    return state, *jax.eval_shape(step, state, BATCH)


def loss(precision):
    start, step = parts(precision)
    return float(jax.jit(lambda batch: step(start(batch), batch)[1]["loss"])(BATCH))


def kinds(tree):
    return {x.dtype.name for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)}


@pytest.mark.parametrize("compute", ["bfloat16", "float16", "float32"])
def test_narrow_arithmetic_keeps_wide_parameters_and_loss(compute):
    before, after, summary = stepped(jaxdl.Precision(compute=compute))
    assert set(SEEN) == {compute}
    state = (after.params, after.opt_state, after.model_state)
    assert kinds(state) == {"float32"} and summary["loss"].dtype == jnp.float32
    assert after == before  # the same types, or steps could not be repeated in one compiled call


def test_narrow_arithmetic_gives_nearly_the_same_loss():
    narrow, wide = loss(jaxdl.Precision(compute="bfloat16")), loss(jaxdl.Precision())
    assert narrow != wide and narrow == pytest.approx(wide, rel=2e-2)


def test_narrow_parameters():
    before, after, _ = stepped(jaxdl.Precision(params="bfloat16", compute="bfloat16"))
    assert after == before
    assert kinds((after.params, after.opt_state)) == {"bfloat16"}


def test_double_precision_throughout():
    double = jaxdl.Precision("float64", "float64", "float64")
    with double.enabled():
        before, after, summary = stepped(double)
        assert set(SEEN) == {"float64"} and summary["loss"].dtype == jnp.float64
        assert kinds((after.params, after.opt_state)) == {"float64"}
        assert after == before
    assert jnp.zeros(()).dtype == jnp.float32  # and only where asked


def test_integers_are_left_alone():
    tree = {"image": jnp.zeros(2, jnp.uint8), "x": jnp.zeros(2)}
    assert jaxdl.Precision(compute="bfloat16").to_compute(tree)["image"].dtype == jnp.uint8

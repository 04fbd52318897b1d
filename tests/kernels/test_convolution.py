"""The convolution against lax's own, in value and gradient, and in what it compiles to."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxdl.kernels.convolution import conv
from jaxdl.models.cnn import MnistCNN
from jaxdl.models.layers import Conv
from jaxdl.runtime import compiler_options

NHWC = ("NHWC", "HWIO", "NHWC")


@pytest.fixture(autouse=True)
def without_onednn(monkeypatch):
    """XLA's own convolutions: oneDNN's have tests of their own."""
    monkeypatch.setenv("JAXDL_ONEDNN", "0")


@st.composite
def convolutions(draw, plain=False):
    """Shapes and arguments that lax takes; if `plain`, those that have a fast path."""
    kernel = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    strides = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = None if plain else draw(st.sampled_from([None, None, None, (2, 1), (1, 3)]))
    groups = draw(st.sampled_from([1, 1, 1, 2] if plain else [1, 1, 2, 9]))
    channels = draw(st.sampled_from([1, 2, 3, 5])) * groups
    outputs = draw(st.sampled_from([1, 2, 6, 17])) * groups
    most = [k - 1 if plain else 6 for k in kernel]
    pads = st.tuples(*(st.tuples(st.integers(0, m), st.integers(0, m)) for m in most))
    padding = draw(st.one_of(st.sampled_from(["SAME", "VALID"]), pads))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation or (1, 1), strict=True)]
    size = [r + draw(st.integers(0, 7)) for r in reach]
    batch = draw(st.integers(1, 3))
    options = dict(
        window_strides=strides,
        padding=padding,
        rhs_dilation=dilation,
        dimension_numbers=NHWC,
        feature_group_count=groups,
    )
    return (batch, *size, channels), (*kernel, channels // groups, outputs), options


def value_and_gradients(function, x, kernel, options):
    y, pull = jax.vjp(lambda x, kernel: function(x, kernel, **options), x, kernel)
    weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    return (y, *pull(weights))


def arrays(shapes, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@settings(max_examples=12, deadline=None)
@given(convolutions())
def test_value_and_gradients_are_those_of_lax(case):
    *shapes, options = case
    with jax.enable_x64(True):  # in float64 any slip shows, and rounding does not
        x, kernel = arrays(shapes, jnp.float64)
        got = value_and_gradients(conv, x, kernel, options)
        expected = value_and_gradients(lax.conv_general_dilated, x, kernel, options)
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.05), (jnp.float16, 0.01)]
)
def test_other_types_to_their_rounding(dtype, rtol):
    x, kernel = arrays([(4, 9, 9, 3), (5, 5, 3, 8)], dtype)
    options = dict(window_strides=(2, 2), padding="SAME", dimension_numbers=NHWC)
    got = value_and_gradients(conv, x, kernel, options)
    expected = value_and_gradients(lax.conv_general_dilated, x, kernel, options)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype == dtype
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


def loss_by(function, options):
    return lambda x, kernel: jnp.sum(jnp.sin(function(x, kernel, **options)))


OPTIONS = dict(window_strides=(2, 1), padding="SAME", dimension_numbers=NHWC)
TRANSFORMED = {
    "jit": lambda f: jax.jit(jax.grad(f, (0, 1))),
    "vmap of images": lambda f: jax.vmap(jax.grad(f, (0, 1)), (0, None)),
    "vmap of kernels": lambda f: jax.vmap(jax.grad(f, (0, 1)), (None, 0)),
    "remat": lambda f: jax.grad(jax.checkpoint(f), (0, 1)),
    "gradient of gradient": lambda f: jax.grad(
        lambda x, k: sum(jnp.sum(g**2) for g in jax.grad(f, (0, 1))(x, k)), (0, 1)
    ),
    "forward over reverse": lambda f: lambda x, k: jax.jvp(jax.grad(f), (x, k), (x, k))[1],
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformations_compose(name):
    lead = {"vmap of images": (3,), "vmap of kernels": ()}.get(name, ())
    kernels = (3,) if name == "vmap of kernels" else ()
    x, kernel = arrays([(*lead, 2, 6, 6, 2), (*kernels, 3, 3, 2, 4)], jnp.float32)
    got, expected = (
        TRANSFORMED[name](loss_by(f, OPTIONS))(x, kernel) for f in (conv, lax.conv_general_dilated)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), got, expected)


def test_scan_and_while_loop():
    x, kernel = arrays([(2, 6, 6, 2), (3, 3, 2, 2)], jnp.float32)
    options = OPTIONS | {"window_strides": (1, 1)}

    def descend(function):
        slope = jax.grad(loss_by(function, options), 1)
        by_scan = lax.scan(lambda k, _: (k - 0.01 * slope(x, k), None), kernel, length=4)[0]
        by_while = lax.while_loop(
            lambda c: c[0] < 4, lambda c: (c[0] + 1, c[1] - 0.01 * slope(x, c[1])), (0, kernel)
        )[1]
        return by_scan, by_while

    for a, b in zip(descend(conv), descend(lax.conv_general_dilated), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def exported(platform, function):
    x, kernel = arrays([(2, 8, 8, 3), (5, 5, 3, 4)], jnp.float32)
    step = jax.jit(jax.value_and_grad(loss_by(function, OPTIONS), (0, 1)))
    return jax.export.export(step, platforms=[platform])(x, kernel).mlir_module()


def convolutions_in(text):
    return sorted(re.findall(r"dim_numbers = .*(?= loc)|stablehlo\.reverse", text))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_plain_lax(platform):
    text = exported(platform, conv)
    assert convolutions_in(text) == convolutions_in(exported(platform, lax.conv_general_dilated))
    assert "optimization_barrier" not in text
    assert "stablehlo.pad" not in text
    assert "optimization_barrier" in exported("cpu", conv)


def layouts(compiled):
    return re.findall(r"convolution\(.*dim_labels=(\S+?)[,\s]", compiled.as_text())


class Assorted(nn.Module):
    """Convolutions of the kinds that CNNs have."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(Conv(8, (7, 7), 2, padding=((3, 3), (3, 3)))(x))
        x = nn.relu(Conv(8, (1, 1))(x) + Conv(8, (3, 3))(x))
        x = nn.relu(Conv(8, (1, 1), 2)(x) + Conv(8, (3, 3), 2)(x))
        return Conv(10, (2, 2), padding="VALID")(x).mean((1, 2))


def train_in_a_loop(model, x, label):
    """A compiled call of steps, as training makes it, and its parameters."""
    params = model.init(jax.random.key(0), x, train=False)
    variables = {k: v for k, v in params.items() if k != "params"}
    optimizer = optax.sgd(0.1)

    def step(carry):
        i, params, opt_state = carry

        def loss(params):
            y, _ = model.apply(
                {"params": params, **variables},
                x,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            return optax.softmax_cross_entropy_with_integer_labels(y, label).mean()

        updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state)
        return i + 1, optax.apply_updates(params, updates), opt_state

    def run(params, n):
        carry = (jnp.int32(0), params, optimizer.init(params))
        return lax.while_loop(lambda c: c[0] < n, step, carry)[1]

    options = compiler_options("cpu")
    return jax.jit(run, compiler_options=options).lower(params["params"], 3).compile()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="reads what XLA compiles for a CPU")
@pytest.mark.parametrize("size", [8, 28])
@pytest.mark.parametrize("model", [MnistCNN(), Assorted()], ids=["mnist_cnn", "assorted"])
def test_only_canonical_convolutions_remain_in_a_training_loop(model, size):
    channels = 1 if isinstance(model, MnistCNN) else 3
    x, label = jnp.zeros((4, size, size, channels)), jnp.zeros(4, jnp.int32)
    found = layouts(train_in_a_loop(model, x, label))
    assert len(found) >= 8
    assert set(found) == {"b01f_01io->b01f"}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="reads what XLA compiles for a CPU")
@settings(max_examples=10, deadline=None)
@given(convolutions(plain=True))
def test_any_plain_convolution_stays_canonical_in_a_loop(case):
    *shapes, options = case

    def step(arrays):
        return tuple(a - g for a, g in zip(arrays, slopes(*arrays), strict=True))

    slopes = jax.grad(loss_by(conv, options), (0, 1))
    run = jax.jit(lambda *arrays: lax.fori_loop(0, 3, lambda _, a: step(a), arrays))
    assert set(layouts(run.lower(*arrays(shapes, jnp.float32)).compile())) <= {"b01f_01io->b01f"}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="reads what XLA compiles for a CPU")
def test_the_gradient_of_a_wide_1x1_kernel_copies_nothing():
    """A copy would be in another order, and computed from all that the images are made of."""

    def slope(x, kernel):
        return jax.grad(lambda k: loss_by(conv, options)(nn.relu(x), k))(kernel)

    options = dict(window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC)
    shapes = arrays([(4, 14, 14, 32), (1, 1, 32, 48)], jnp.float32)
    compiled = jax.jit(slope, compiler_options=compiler_options("cpu")).lower(*shapes).compile()
    assert not re.findall(r" (?:copy|transpose)\(", compiled.as_text())


def test_the_reading_of_layouts_sees_a_naive_convolution():
    def slope(x, kernel):
        return jax.grad(loss_by(lax.conv_general_dilated, OPTIONS), 1)(x, kernel)

    def run(x, kernel):
        return lax.fori_loop(0, 3, lambda _, k: k - slope(x, k), kernel)

    x, kernel = arrays([(2, 6, 6, 2), (3, 3, 2, 2)], jnp.float32)
    assert set(layouts(jax.jit(run).lower(x, kernel).compile())) - {"b01f_01io->b01f"}

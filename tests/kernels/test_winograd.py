"""Winograd's convolution against the definition: in value, in rounding, and where it is chosen."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_convolution import TRANSFORMED

from jaxdl.kernels import winograd
from jaxdl.kernels.convolution import conv
from jaxdl.kernels.geometry import NHWC, PLAIN, Geometry
from jaxdl.kernels.winograd import WINOGRAD

WAYS = (WINOGRAD, PLAIN)
ROOM = Geometry((1, 1), ((1, 1), (1, 1)))


def arguments(x, kernel, g):
    """For each function of a convolution: two arrays, and the shape of its result."""
    return {
        "forward": (x, kernel, g.shape),
        "input_gradient": (g, kernel, x.shape),
        "kernel_gradient": (g, x, kernel.shape),
    }


def drawn(batch, size, channels, outputs, geometry, dtype=np.float64):
    rng = np.random.default_rng(0)
    positions = [n + sum(pads) - 2 for n, pads in zip(size, geometry.pads, strict=True)]
    shapes = (batch, *size, channels), (3, 3, channels, outputs), (batch, *positions, outputs)
    return arguments(*(jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes))


@settings(max_examples=5, deadline=None)
@given(
    st.tuples(st.integers(3, 9), st.integers(3, 9)),
    *[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2,
)
def test_all_three_functions_are_those_of_lax(size, rows, columns):
    geometry = Geometry((1, 1), (rows, columns))
    with jax.enable_x64(True):
        for name, (a, b, shape) in drawn(2, size, 3, 5, geometry).items():
            functions = (functools.partial(w[name], shape=shape, geometry=geometry) for w in WAYS)
            got, expected = (jax.jit(function)(a, b) for function in functions)
            assert got.shape == shape
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", WINOGRAD)
def test_rounding_errors_are_a_few_times_those_of_the_definition(name):
    a, b, shape = drawn(8, (14, 14), 64, 64, ROOM, np.float32)[name]
    with jax.enable_x64(True):
        wide = (jnp.asarray(np.asarray(v, np.float64)) for v in (a, b))
        exact = np.asarray(PLAIN[name](*wide, shape, ROOM))

    def error(ways):
        return np.std(np.asarray(ways[name](a, b, shape, ROOM)) - exact)

    assert error(WINOGRAD) < 4 * error(PLAIN)


def share(name="forward", dtype=jnp.float32, kernel=(3, 3, 256, 256), geometry=ROOM, batch=8):
    x = jnp.zeros((batch, 28, 28, kernel[2] * geometry.groups), dtype)
    g = jnp.zeros((batch, 28, 28, kernel[3]), dtype)
    k = jnp.zeros(kernel, dtype)
    a, b, shape = arguments(x, k, g)[name]
    return winograd.share(name, a, b, shape, geometry)


@pytest.mark.parametrize("name", WINOGRAD)
def test_it_saves_the_more_the_wider_the_layers_are(name):
    widths = [share(name, kernel=(3, 3, width, width)) for width in (128, 256, 512)]
    assert 0.4 < widths[2] < widths[1] < widths[0] < 1


@pytest.mark.parametrize(
    "case",
    [
        dict(kernel=(3, 3, 32, 32)),
        dict(kernel=(3, 3, 3, 64)),
        dict(batch=0),
        dict(kernel=(1, 3, 256, 256)),
        dict(kernel=(5, 5, 256, 256)),
        dict(geometry=ROOM._replace(strides=(2, 2))),
        dict(geometry=ROOM._replace(dilation=(2, 2))),
        dict(geometry=ROOM._replace(groups=2)),
        dict(dtype=jnp.bfloat16),
    ],
)
def test_it_is_left_alone_where_it_cannot_or_does_not_pay(case):
    assert share(**case) > 1
    if case.keys() & {"geometry", "dtype"} or case.get("kernel", (3, 3))[:2] != (3, 3):
        assert share(**case) == math.inf


def convolve(x, kernel):
    return conv(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC)


def products(function, *shapes):
    """How many matrix products and convolutions a function is lowered to, for a CPU."""
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    text = jax.export.export(jax.jit(function), platforms=["cpu"])(*args).mlir_module()
    return text.count("stablehlo.dot_general"), text.count("stablehlo.convolution")


def test_wide_layers_are_computed_this_way_with_and_without_onednn(monkeypatch):
    shapes = (8, 28, 28, 512), (3, 3, 512, 512)
    slopes = jax.grad(lambda x, k: jnp.sum(convolve(x, k) ** 2), (0, 1))
    assert products(slopes, *shapes) == (48, 0)
    monkeypatch.setenv("JAXDL_ONEDNN", "0")
    assert products(slopes, *shapes) == (48, 0)
    assert products(convolve, (8, 28, 28, 16), (3, 3, 16, 16)) == (0, 1)


@pytest.mark.parametrize(
    "name",
    [
        "vmap of images",
        pytest.param("gradient of gradient", marks=pytest.mark.slow),
        "forward over reverse",
    ],
)
def test_transformations_compose(name, monkeypatch):
    monkeypatch.setattr(winograd, "share", lambda *_: 0.0)
    lead = (2,) if name == "vmap of images" else ()
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, kernel = (jnp.asarray(rng.normal(size=s)) for s in ((*lead, 2, 5, 6, 2), (3, 3, 2, 4)))
        plain = functools.partial(
            jax.lax.conv_general_dilated,
            window_strides=(1, 1),
            padding="SAME",
            dimension_numbers=NHWC,
        )
        got, expected = (
            TRANSFORMED[name](lambda x, k, by=by: jnp.sum(jnp.sin(by(x, k))))(x, kernel)
            for by in (convolve, plain)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), got, expected)

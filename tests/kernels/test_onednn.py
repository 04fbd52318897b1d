"""oneDNN's convolutions, products and batch norm against XLA's own; and that nothing needs them."""

import functools
import logging
import os
import stat
import subprocess
import sys
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxdl.hlo import Program
from jaxdl.kernels import CELLS, Weights, batch_norm_training, onednn, portable, scan_layers
from jaxdl.kernels.convolution import conv
from jaxdl.kernels.eigen import EIGEN
from jaxdl.kernels.geometry import NHWC, PLAIN, Geometry, forward
from jaxdl.kernels.matmul import matmul
from jaxdl.models.layers import Dense

needed = pytest.mark.skipif(not onednn.available(), reason="needs the extra onednn")


@pytest.fixture
def always(monkeypatch):
    """However small, by oneDNN."""
    monkeypatch.setattr(onednn, "_LEAST", 0)
    monkeypatch.setattr(onednn, "_LEAST_NORMALISED", 0)


@pytest.fixture
def unloaded(monkeypatch, tmp_path):
    """As in a process that has not asked yet, with an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAXDL_ONEDNN", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(onednn, "_loaded", functools.cache(onednn._loaded.__wrapped__))
    return tmp_path


@st.composite
def convolutions(draw):
    """Shapes of images and kernel, and a geometry that fits them."""

    def pair(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    size, strides, dilation = (
        pair(1, 5),
        pair(1, 3),
        draw(st.sampled_from([(1, 1), (1, 1), (2, 3)])),
    )
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, outputs = (draw(st.sampled_from([1, 2, 5, 16])) * groups for _ in range(2))
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    pads = tuple(draw(st.tuples(*[st.integers(0, r - 1)] * 2)) for r in reach)
    image = [r + draw(st.integers(0, 7)) for r in reach]
    x = (draw(st.integers(1, 3)), *image, channels)
    return x, (*size, channels // groups, outputs), Geometry(strides, pads, dilation, groups)


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def arguments(x, kernel, geometry):
    """Of each of the three functions: two arrays, and the shape of the result."""
    g = arrays(jax.eval_shape(lambda: forward(x, kernel, (), geometry)).shape)[0]
    return {
        "forward": (x, kernel, g.shape),
        "input_gradient": (g, kernel, x.shape),
        "kernel_gradient": (g, x, kernel.shape),
    }


def close(got, expected):
    assert got.shape == expected.shape and got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@needed
@settings(max_examples=15, deadline=None)
@given(convolutions())
def test_the_three_functions_are_those_of_lax(case):
    x, kernel, geometry = case
    given = arguments(*arrays(x, kernel), geometry)
    assert given.keys() == PLAIN.keys() == EIGEN.keys() < onednn.FOREIGN_CALLS.keys()
    for name, (a, b, shape) in given.items():
        close(
            onednn.convolve(name, a, b, shape, geometry),
            PLAIN[name](a, b, shape, geometry),
        )


@needed
@settings(max_examples=15, deadline=None)
@given(convolutions())
def test_its_operations_are_counted_as_those_of_lax(case):
    x, kernel, geometry = case

    def counted(function, a, b, shape):
        run = jax.jit(functools.partial(function, shape=shape, geometry=geometry))
        return Program.of(run.lower(a, b).compiler_ir("hlo").as_hlo_text()).flops

    given = arguments(*arrays(x, kernel), geometry)
    expected = counted(PLAIN["forward"], *given["forward"])
    for name, case in given.items():
        assert counted(functools.partial(onednn.convolve, name), *case) == expected


narrow = pytest.mark.skipif(
    not (onednn.available() and onednn.has_bfloat16()), reason="needs a CPU with bfloat16"
)


@narrow
@settings(max_examples=10, deadline=None)
@given(convolutions())
def test_bfloat16_is_summed_in_float32(case):
    x, kernel, geometry = case
    x, kernel = (v.astype(jnp.bfloat16) for v in arrays(x, kernel))
    for name, (a, b, shape) in arguments(x, kernel, geometry).items():
        got = onednn.convolve(name, a.astype(jnp.bfloat16), b, shape, geometry)
        wide = (v.astype(jnp.bfloat16).astype(jnp.float32) for v in (a, b))
        expected = PLAIN[name](*wide, shape, geometry)
        assert got.dtype == jnp.bfloat16 and got.shape == expected.shape
        np.testing.assert_allclose(got.astype(jnp.float32), expected, rtol=2**-8, atol=1e-4)


TURNS = [(False, False), (True, False), (False, True), (True, True)]


@needed
@pytest.mark.parametrize("kind", ["float32", pytest.param("bfloat16", marks=narrow)])
@pytest.mark.parametrize("transpose_a, transpose_b", TURNS)
def test_products_of_matrices_are_those_of_numpy_and_counted(kind, transpose_a, transpose_b):
    a, b = (x.astype(kind) for x in arrays((9, 5), (5, 7)))
    expected = np.asarray(a, np.float64) @ np.asarray(b, np.float64)
    a, b = a.T if transpose_a else a, b.T if transpose_b else b
    function = functools.partial(
        onednn.matmul, transpose_a=transpose_a, transpose_b=transpose_b, dtype=jnp.dtype("float32")
    )
    np.testing.assert_allclose(function(a, b), expected, rtol=1e-5, atol=1e-5)
    text = jax.jit(function).lower(a, b).compiler_ir("hlo").as_hlo_text()
    assert Program.of(text).flops == {{"float32": "f32", "bfloat16": "bf16"}[kind]: 2 * 9 * 5 * 7}


def by_dense(x, kernel, bias):
    y = Dense(len(bias)).apply({"params": {"kernel": kernel, "bias": bias}}, x)
    return jnp.sum(jnp.sin(y.astype(jnp.float32)))


def by_recurrence(cell):
    def loss(x, wx, wh):
        weights = [[Weights(wx, wh, jnp.ones(wh.shape[1], x.dtype))]]
        state = [(jnp.ones((x.shape[1], len(wh))),) * CELLS[cell].states]
        y, last = scan_layers(cell, weights, x, state, jnp.arange(6)[:, None] < jnp.array([6, 4]))
        assert y.dtype == x.dtype
        return jnp.sum(jnp.sin(y.astype(jnp.float32))) + jnp.sum(last[0][0])

    return loss


PRODUCTS = {
    "dense": (by_dense, (6, 2, 3), (3, 8), (8,)),
    "lstm": (by_recurrence("lstm"), (6, 2, 3), (3, 32), (8, 32)),
    "gru": (by_recurrence("gru"), (6, 2, 3), (3, 24), (8, 24)),
}


@narrow
@pytest.mark.parametrize("name", PRODUCTS)
def test_gradients_through_products_in_bfloat16_are_those_of_float32(name, always):
    loss, *shapes = PRODUCTS[name]
    wide = arrays(*shapes)
    x = [a.astype(jnp.bfloat16) for a in wide]
    gradients = jax.jit(jax.grad(lambda *x: loss(*x).astype(jnp.float32), (0, 1, 2)))
    assert "@jaxdl_onednn_matmul" in gradients.lower(*x).as_text()
    for got, expected in zip(gradients(*x), gradients(*wide), strict=True):
        assert got.dtype == jnp.bfloat16
        error = np.linalg.norm(got.astype(jnp.float32) - expected)
        assert error <= 0.02 * np.linalg.norm(expected)


@narrow
def test_a_product_in_bfloat16_can_be_differentiated_twice_and_mapped(always):
    a, b = (x.astype(jnp.bfloat16) for x in arrays((4, 3), (3, 2)))

    def twice(a, b):
        def loss(a):
            return jnp.sum(jnp.sin(matmul(a, b).astype(jnp.float32)))

        return jax.grad(lambda a: jnp.sum(jax.grad(loss)(a).astype(jnp.float32) ** 2))(a)

    with portable():
        expected = twice(a, b).astype(jnp.float32)
    several = jax.jit(jax.vmap(twice, (0, None)))(jnp.stack([2 * a, a]), b)
    np.testing.assert_allclose(several[1].astype(jnp.float32), expected, rtol=0.05, atol=0.05)


@needed
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("shape", [(4, 3, 5, 16), (6, 7, 13), (64, 2)])
@pytest.mark.parametrize("kind", ["float32", pytest.param("bfloat16", marks=narrow)])
def test_batch_norm_and_its_gradient_are_those_of_xla(kind, shape, halves, relu, always):
    x, weights, scale, bias = arrays(shape, shape, shape[-1:], shape[-1:])
    x, group = x.astype(kind), len(x) // 2 if halves else None

    def loss(x, scale, bias):
        y, mean, var = batch_norm_training(x, scale, bias, 1e-5, relu, group)
        return jnp.sum(y.astype(jnp.float32) * weights) + jnp.sum(mean * var), (y, mean, var)

    def run():
        function = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))
        assert ("@jaxdl_onednn_" in function.lower(x, scale, bias).as_text()) == onednn.available()
        return function(x, scale, bias)

    got = run()
    with portable():
        expected = run()
    precision = 1e-4 if kind == "float32" else 2**-6
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        a, b = (v.astype(jnp.float32) for v in (a, b))
        np.testing.assert_allclose(a, b, rtol=precision, atol=precision)


@needed
def test_batch_norm_without_parameters_and_its_gradient_s_gradient(always):
    (x,) = arrays((6, 4, 3))

    def loss(x):
        return jnp.sum(jnp.sin(batch_norm_training(x, None, None, 1e-5, True)[0]))

    def twice(x):
        return jax.grad(lambda x: jnp.sum(jax.grad(loss)(x) ** 2))(x)

    with portable():
        expected = [jax.jit(lambda x, f=f: f(x))(x) for f in (jax.grad(loss), twice)]
    for function, wanted in zip((jax.grad(loss), twice), expected, strict=True):
        run = jax.jit(function)
        assert "@jaxdl_onednn_batch_norm" in run.lower(x).as_text()
        np.testing.assert_allclose(run(x), wanted, rtol=1e-4, atol=1e-4)
    several = jnp.stack([x, 2 * x])
    np.testing.assert_allclose(jax.jit(jax.vmap(twice))(several)[0], expected[1], atol=1e-4)


OPTIONS = dict(window_strides=(2, 1), padding="SAME", dimension_numbers=NHWC, feature_group_count=2)


def loss_by(function):
    return lambda x, kernel: jnp.sum(jnp.sin(function(x, kernel, **OPTIONS)))


TRANSFORMED = {
    "gradient in a loop": lambda f: (
        lambda x, k: lax.fori_loop(0, 3, lambda _, k: k - 0.01 * jax.grad(f, 1)(x, k), k)
    ),
    "vmap": lambda f: (
        lambda x, k: jax.vmap(jax.grad(f, (0, 1)), (None, 0))(x, jnp.stack([k, 2 * k]))
    ),
    "gradient of gradient": lambda f: jax.grad(
        lambda x, k: sum(jnp.sum(g**2) for g in jax.grad(f, (0, 1))(x, k)), (0, 1)
    ),
    "forward over reverse": lambda f: lambda x, k: jax.jvp(jax.grad(f), (x, k), (x, k))[1],
}


@needed
@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformations_compose(name, always):
    x, kernel = arrays((2, 6, 6, 4), (3, 3, 2, 4))
    transform = TRANSFORMED[name]
    run = jax.jit(transform(loss_by(conv)))
    assert "jaxdl_onednn_" in run.lower(x, kernel).as_text()
    expected = transform(loss_by(lax.conv_general_dilated))(x, kernel)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3),
        run(x, kernel),
        expected,
    )


def targets(kind=jnp.float32, batch=16):
    """What a convolution of fair size calls."""
    x, kernel = (jnp.zeros(s, kind) for s in [(batch, 16, 16, 16), (3, 3, 16, 16)])
    slopes = jax.jit(
        jax.grad(lambda x, k: jnp.sum(conv(x, k, (1, 1), "SAME", dimension_numbers=NHWC)), (0, 1))
    )
    text = slopes.lower(x, kernel).as_text()
    return {name for name, target in onednn.FOREIGN_CALLS.items() if target in text}


@needed
def test_it_is_used_where_it_pays(monkeypatch):
    assert {"input_gradient", "kernel_gradient"} <= targets()
    assert not targets(kind=jnp.float16)
    monkeypatch.setattr(onednn, "_LEAST", 16 * 16**4 * 9 + 1)
    assert not targets()
    monkeypatch.setattr(onednn, "_LEAST", 16 * 16**4 * 9)
    assert targets()
    monkeypatch.setenv("JAXDL_ONEDNN", "0")
    assert not targets()
    monkeypatch.delenv("JAXDL_ONEDNN")
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert not targets()


def test_a_portable_program_has_none_of_it(monkeypatch):
    monkeypatch.delenv("JAXDL_ONEDNN", raising=False)
    monkeypatch.setattr(onednn, "_loaded", lambda: object())
    assert onednn.available()
    with portable():
        assert not onednn.available()
    assert onednn.available()


@needed
@pytest.mark.parametrize("there", [True, False])
def test_bfloat16_where_the_cpu_multiplies_it(monkeypatch, there):
    monkeypatch.setattr(onednn, "has_bfloat16", lambda: there)
    assert bool(targets(kind=jnp.bfloat16)) == there


@needed
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_never_see_it(platform, always):
    x, kernel = arrays((2, 6, 6, 4), (3, 3, 2, 4))
    step = jax.jit(jax.grad(loss_by(conv), (0, 1)))
    text = jax.export.export(step, platforms=[platform])(x, kernel).mlir_module()
    assert "stablehlo.convolution" in text and "@jaxdl_onednn_" not in text


@needed
def test_an_export_must_name_it(always):
    """Its targets are this machine's alone, so that JAX does not export them by accident."""
    x, kernel = arrays((2, 6, 6, 4), (3, 3, 2, 4))
    step = jax.jit(jax.grad(loss_by(conv), (0, 1)))
    with pytest.raises(ValueError, match="custom calls"):
        jax.export.export(step, platforms=["cpu"])(x, kernel)
    allowed = [jax.export.DisabledSafetyCheck.custom_call(t) for t in onednn.FOREIGN_CALLS.values()]
    export = jax.export.export(step, platforms=["cpu"], disabled_checks=allowed)(x, kernel)
    jax.tree.map(close, export.call(x, kernel), step(x, kernel))


DIGEST = """
import hashlib, jax, jax.numpy as jnp, numpy as np
from jaxdl.kernels import onednn
from jaxdl.kernels.geometry import Geometry
rng = np.random.default_rng(0)
x, k, g = (jnp.asarray(rng.normal(size=s), jnp.float32)
           for s in [(8, 28, 28, 16), (3, 3, 16, 32), (8, 14, 14, 32)])
geometry = Geometry((2, 2), ((1, 1), (1, 1)))
assert onednn.available()
digest = hashlib.sha256()
for _ in range(3):
    for name, a, b, like in [("forward", x, k, g), ("input_gradient", g, k, x),
                             ("kernel_gradient", g, x, k)]:
        digest.update(np.asarray(onednn.convolve(name, a, b, like.shape, geometry)).tobytes())
    print(digest.hexdigest())
    digest = hashlib.sha256()
"""


@needed
def test_the_same_bits_every_time():
    processes = [
        subprocess.Popen([sys.executable, "-c", DIGEST], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    digests = [line for p in processes for line in p.communicate()[0].split()]
    assert len(digests) == 6 and len(set(digests)) == 1


@needed
def test_an_error_of_onednn_is_raised_and_says_so():
    x, kernel = arrays((1, 4, 4, 2), (3, 3, 2, 2))
    geometry = Geometry((1, 1), ((0, 0), (0, 0)))
    with pytest.raises(jax.errors.JaxRuntimeError, match="oneDNN convolution"):
        onednn.convolve("forward", x, kernel, (1, 9, 9, 2), geometry).block_until_ready()


# ---- Without it


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return str(path)


@pytest.fixture
def installed(unloaded, monkeypatch):
    """The packages there, as far as can be seen from outside."""
    monkeypatch.setattr(onednn, "_locate", lambda package, file: unloaded / "a/b/c" / file)
    monkeypatch.setattr(metadata, "version", lambda package: "1")
    return unloaded


def warned(caplog):
    """That it is unavailable, and the one line that says why, however often it is asked."""
    with caplog.at_level(logging.WARNING, "jaxdl"):
        assert not any(onednn.available() for _ in range(3))
    (record,) = caplog.records
    assert record.name == "jaxdl" and "\n" not in record.getMessage()
    return record.getMessage()


def test_absent_packages_are_no_matter(unloaded, monkeypatch, caplog):
    monkeypatch.setattr(onednn, "PACKAGES", {"no-such-package": "a", "nor-this": "b"})
    assert not onednn.available()
    assert not caplog.records and not os.listdir(unloaded)
    assert not targets()


def test_no_compiler(installed, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(installed))
    assert "no C++ compiler is found; install g++" in warned(caplog)
    assert not targets()


def test_a_compiler_that_is_not_there(installed, monkeypatch, caplog):
    monkeypatch.setenv("CXX", "/no/such/compiler -O3")
    assert "/no/such/compiler does not run" in warned(caplog)


def test_a_compiler_that_fails(installed, monkeypatch, caplog):
    fails = '[ "$1" = --version ] || { echo "in file"; echo "x.cc:1: error: bad" >&2; exit 1; }'
    monkeypatch.setenv("CXX", script(installed / "cxx", fails))
    assert "cannot compile it: x.cc:1: error: bad; install another" in warned(caplog)
    assert not list((installed / "jaxdl" / "onednn").iterdir())


# Writes something that is no library where it was told to.
BROKEN = 'while [ $# -gt 1 ]; do shift; done; [ "$1" = --version ] || echo nonsense > "$1"'


def test_a_library_that_does_not_load(installed, monkeypatch, caplog):
    monkeypatch.setenv("CXX", script(installed / "cxx", BROKEN))
    said = warned(caplog)
    assert "does not load" in said and "delete it" in said


def test_a_cache_that_cannot_be_written(installed, monkeypatch, caplog):
    (installed / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(installed / "file"))
    monkeypatch.setenv("CXX", script(installed / "cxx", BROKEN))
    assert "cannot be written" in warned(caplog) and "set XDG_CACHE_HOME" in caplog.text


def test_it_is_built_once(installed, monkeypatch):
    counting = f"echo >> {installed / 'calls'}; {BROKEN}"
    monkeypatch.setenv("CXX", script(installed / "cxx", counting))
    include = installed / "include"
    first = onednn._built(installed / "libdnnl.so.3", include)
    assert onednn._built(installed / "libdnnl.so.3", include) == first
    assert len((installed / "calls").read_text()) == 3  # two versions and one library
    monkeypatch.setattr(metadata, "version", lambda package: "2")
    assert onednn._built(installed / "libdnnl.so.3", include) != first


def test_several_devices_share_the_work_of_xla():
    code = (
        "import jax; jax.config.update('jax_num_cpu_devices', 2)\n"
        "import jax.numpy as jnp; from jaxdl.kernels import onednn\n"
        "x, k = jnp.zeros((64, 32, 32, 64)), jnp.zeros((3, 3, 64, 64))\n"
        "print(onednn.pays('forward', x, k, x.shape))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_choice_is_a_matter_of_size(monkeypatch):
    monkeypatch.setattr(onednn, "available", lambda: True)
    monkeypatch.setattr(onednn, "_LEAST", 2 * 5 * 5 * 7 * 3 * 3 * 4)
    x, kernel, g = (jnp.zeros(s) for s in [(2, 9, 9, 4), (3, 3, 4, 7), (2, 5, 5, 7)])
    calls = [("forward", x, kernel, g), ("input_gradient", g, kernel, x),
             ("kernel_gradient", g, x, kernel)]  # fmt: skip
    if jax.default_backend() == "cpu":
        assert all(onednn.pays(name, a, b, like.shape) for name, a, b, like in calls)
    monkeypatch.setattr(onednn, "_LEAST", onednn._LEAST + 1)
    assert not any(onednn.pays(name, a, b, like.shape) for name, a, b, like in calls)

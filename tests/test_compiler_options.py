"""Compiler options: taken where they are known, left out where not."""

import jax
import jax.numpy as jnp
import pytest

from jaxdl import runtime


@pytest.fixture(autouse=True)
def forget():
    yield
    runtime._accepted.cache_clear()


def test_what_is_given_compiles_and_changes_no_number():
    options = runtime.compiler_options("cpu")
    with jax.default_device(jax.devices("cpu")[0]):
        x = jnp.linspace(-1, 1, 7)
        got = jax.jit(jnp.sin, compiler_options=options)(x)
        assert (got == jax.jit(jnp.sin)(x)).all()


@pytest.mark.parametrize("platform", ["gpu", "tpu", "rocm"])
def test_accelerators_are_left_alone(platform):
    assert runtime.compiler_options(platform) == {}


@pytest.mark.parametrize("name", ["xla_no_such_option", next(iter(runtime._CPU))])
def test_an_unknown_option_or_value_is_left_out(monkeypatch, name):
    monkeypatch.setattr(runtime, "_CPU", {name: "NO_SUCH_VALUE"})
    runtime._accepted.cache_clear()
    assert runtime.compiler_options("cpu") == {}

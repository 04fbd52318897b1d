"""Polynomials against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.models import Polynomial


@pytest.mark.parametrize("order", [0, 1, 9])
def test_it_is_numpys(order):
    w = np.random.default_rng(0).normal(size=order + 1)
    x = np.linspace(-1, 1, 7)
    with jax.enable_x64(True):
        got = Polynomial(order).apply({"params": {"w": jnp.asarray(w)}}, jnp.asarray(x))
    np.testing.assert_allclose(got, np.polynomial.polynomial.polyval(x, w), rtol=1e-12, atol=1e-14)


def test_it_starts_at_zero():
    w = Polynomial(3).init(jax.random.key(0), jnp.zeros(2))["params"]["w"]
    assert w.shape == (4,) and not w.any()


def test_no_order_below_zero():
    with pytest.raises(UserError, match="order: expected at least 0, got -1"):
        Polynomial(-1).init(jax.random.key(0), jnp.zeros(2))

"""The layers against Flax's own."""

import functools
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.errors import UserError
from jaxdl.models import functional
from jaxdl.models.layers import BatchNorm, Conv, check_images, draw_for_batch


class Reference(nn.Module):
    """Flax's batch norm and ReLU, under the names that ours has."""

    momentum: float
    use_scale: bool
    use_bias: bool
    relu: bool

    @nn.compact
    def __call__(self, x, *, train):
        y = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            use_scale=self.use_scale,
            use_bias=self.use_bias,
            name="norm",
        )(x)
        return nn.relu(y) if self.relu else y


def random_arrays(shapes, dtype=jnp.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def results(model, variables, x, weights, train):
    """Outputs, new statistics, and gradients of parameters and input."""

    def loss(params, x):
        y, new = model.apply(
            {**variables, "params": params}, x, train=train, mutable=["batch_stats"]
        )
        return jnp.sum(weights * y), (y, new)

    slopes = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
    gradients, (y, new) = slopes(variables.get("params", {}), x)
    return y, new, gradients


@settings(max_examples=10, deadline=None)
@given(
    space=st.sampled_from([(), (5,), (3, 4), (2, 2, 3)]),
    batch=st.integers(2, 6),
    channels=st.integers(1, 5),
    options=st.fixed_dictionaries(
        dict(
            momentum=st.sampled_from([0.0, 0.9, 0.99]),
            use_scale=st.booleans(),
            use_bias=st.booleans(),
            relu=st.booleans(),
        )
    ),
    train=st.booleans(),
)
def test_batch_norm_is_flax_s(space, batch, channels, options, train):
    with jax.enable_x64(True):
        x, weights = random_arrays([(batch, *space, channels)] * 2, jnp.float64)
        x = 3 * x + jnp.arange(channels)
        ours, flax = BatchNorm(**options), Reference(**options)
        names = [n for n in ("scale", "bias") if options[f"use_{n}"]]
        params = dict(zip(names, random_arrays([(channels,)] * 2, jnp.float64, 1), strict=False))
        stats = {"mean": jnp.linspace(-1, 1, channels), "var": jnp.linspace(0.5, 2, channels)}
        ours_in = {"params": params, "batch_stats": stats}
        flax_in = {"params": {"norm": params}, "batch_stats": {"norm": stats}}
        y, new, (dparams, dx) = results(ours, ours_in, x, weights, train)
        y0, new0, (dparams0, dx0) = results(flax, flax_in, x, weights, train)
        got = (y, new["batch_stats"], dparams, dx)
        expected = (y0, new0["batch_stats"]["norm"], dparams0["norm"], dx0)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8), got, expected
        )


def test_initialisation_has_flax_s_variables():
    x = jnp.ones((3, 4))
    variables = BatchNorm().init(jax.random.key(0), x, train=True)
    expected = nn.BatchNorm(use_running_average=False).init(jax.random.key(0), x)
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


def test_statistics_are_float32_for_narrow_inputs():
    (x,) = random_arrays([(4096, 2)])
    x = (x + 20).astype(jnp.bfloat16)  # in bfloat16, 4096 terms near 400 would add to nonsense
    model = BatchNorm(momentum=0.0)
    variables = model.init(jax.random.key(0), x, train=True)
    y, new = model.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    for name, of in (("mean", np.mean), ("var", np.var)):
        statistic = new["batch_stats"][name]
        assert statistic.dtype == jnp.float32
        np.testing.assert_allclose(statistic, of(np.asarray(x, np.float64), 0), rtol=1e-3)


def test_the_type_of_the_running_averages_stays():
    model, x = BatchNorm(), jnp.ones((2, 3), jnp.bfloat16)
    variables = model.init(jax.random.key(0), x.astype(jnp.float32), train=True)
    with jax.enable_x64(True):
        _, new = model.apply(variables, x.astype(jnp.float64), train=True, mutable=["batch_stats"])
    assert {v.dtype for v in jax.tree.leaves(new)} == {jnp.dtype("float32")}


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxdl.models.layers import BatchNorm, Conv
import flax.linen as nn

class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return BatchNorm(relu=True)(Conv(4, (3, 3), 2)(x), train=train)

assert len(jax.devices()) == 8
x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 6, 6, 3)), jnp.float32)
x = x * jnp.arange(1, 17)[:, None, None, None]  # no two shards have the same statistics
variables = Net().init(jax.random.key(0), x, train=True)

@jax.jit
def step(params, x):
    def loss(params):
        inputs = {**variables, "params": params}
        y, new = Net().apply(inputs, x, train=True, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y)), new
    return jax.value_and_grad(loss, has_aux=True)(params)

mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
whole = jax.device_put(variables["params"], NamedSharding(mesh, PartitionSpec()))
got, expected = step(whole, spread), step(variables["params"], x)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, expected)
print("the same")
"""


def test_statistics_are_of_the_whole_batch_on_eight_devices():
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "the same", done.stderr


def test_conv_is_flax_s_with_the_same_parameters():
    (x,) = random_arrays([(2, 7, 7, 3)])
    arguments = dict(features=4, kernel_size=(3, 3), strides=2, padding=1)
    ours, flax = Conv(**arguments), nn.Conv(**arguments)
    variables = flax.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(0), x), variables)
    np.testing.assert_allclose(ours.apply(variables, x), flax.apply(variables, x), rtol=1e-5)


NORMS = {  # a norm, shapes that give it one value per mean, and shapes that give more
    "batch": (BatchNorm(), [(1, 3), (1, 1, 1, 3)], [(2, 3), (1, 1, 2, 3)]),
    "flax's batch": (nn.BatchNorm(False), [(1, 3)], [(2, 3)]),
    "flax's batch, two axes": (nn.BatchNorm(False, axis=(0, -1)), [(5, 1, 3)], [(5, 2, 3)]),
    "layer": (nn.LayerNorm(), [(5, 1)], [(1, 3)]),
    "group": (nn.GroupNorm(3), [(5, 3)], [(1, 6), (1, 2, 3)]),
    "groups of one": (nn.GroupNorm(None, group_size=1), [(5, 3)], [(1, 2, 3)]),
    "instance": (nn.InstanceNorm(), [(5, 1, 1, 3)], [(1, 1, 2, 3)]),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_of_single_values_are_refused_in_training(name):
    norm, single, several = NORMS[name]
    model = functional(norm)
    train = functools.partial(model.apply, train=True)
    for shape in single + several:
        x = jnp.ones(shape)
        params, variables = model.init(jax.random.key(0), (x,))
        if shape in several:
            train(params, variables, (x,), None)
            continue
        with pytest.raises(UserError, match=r"gets one value per mean, \[.*nothing is learned; "):
            jax.eval_shape(train, params, variables, (x,), None)


def test_running_statistics_may_be_of_anything():
    model, x = functional(nn.BatchNorm(use_running_average=True)), jnp.ones((1, 3))
    params, variables = model.init(jax.random.key(0), (x,))
    model.apply(params, variables, (x,), None, True)


def test_means_over_devices_are_of_all_their_values():
    model = functional(nn.BatchNorm(False, axis_name="data"))
    params, variables = functional(nn.BatchNorm(False)).init(jax.random.key(0), (jnp.ones((2, 3)),))

    def apply(x):
        return model.apply(params, variables, (x,), None, True)[0]

    assert jax.vmap(apply, axis_name="data")(jnp.ones((2, 1, 3))).shape == (2, 1, 3)
    with pytest.raises(UserError, match="gets one value per mean"):
        jax.vmap(apply, axis_name="data")(jnp.ones((1, 1, 3)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_running_variance_of_zero_gives_finite_numbers(dtype):
    model, x = BatchNorm(), jnp.full((1, 3), 2, dtype)
    variables = model.init(jax.random.key(0), x, train=False)
    still = jax.tree.map(jnp.zeros_like, variables["batch_stats"])
    y = model.apply({**variables, "batch_stats": still}, x, train=False)
    np.testing.assert_allclose(y, 2 / 1e-5**0.5, rtol=1e-2)


def test_what_is_not_images_of_the_least_size_is_refused():
    with pytest.raises(UserError, match="got shape \\(3, 784\\)"):
        check_images(jnp.zeros((3, 784)))
    with pytest.raises(UserError, match="at least 9x9 pixels, got 10x8"):
        check_images(jnp.zeros((3, 10, 8, 1)), least=9)
    check_images(jnp.zeros((3, 10, 9, 1)), least=9)


def test_a_device_draws_its_share_of_what_one_draws():
    draw = functools.partial(jax.random.uniform, jax.random.key(0))
    shares = jax.vmap(
        lambda _: draw_for_batch(draw, (2, 5)), axis_name="data", axis_size=3, in_axes=None
    )(0)
    np.testing.assert_array_equal(shares.reshape(6, 5), draw_for_batch(draw, (6, 5)))

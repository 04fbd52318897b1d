"""Residual networks: their published sizes, and what their arguments do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import layers, made, multiply_adds, parameters, paths

from jaxdl.errors import UserError
from jaxdl.models import CifarResNet, ResNet
from jaxdl.models.resnet import Block, Stage

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 3)), jnp.float32)


@pytest.mark.parametrize(
    ("depth", "count", "giga"),
    [
        (18, 11_689_512, 1.81),
        (34, 21_797_672, 3.66),
        (50, 25_557_032, 4.09),
        (101, 44_549_160, 7.80),
        (152, 60_192_808, 11.51),
    ],
)
def test_published_sizes(depth, count, giga):
    assert parameters(ResNet(depth=depth)) == count
    assert round(multiply_adds(ResNet(depth=depth)), 2) == giga


@pytest.mark.parametrize(
    ("depth", "a", "b"),
    [(20, 269_722, 272_474), (56, 853_018, 855_770), (110, 1_727_962, 1_730_714)],
)
def test_published_sizes_on_cifar(depth, a, b):
    assert parameters(CifarResNet(depth=depth), 32) == a
    assert parameters(CifarResNet(depth=depth, shortcut="B"), 32) == b


def test_as_large_without_shortcuts_and_with_activation_first():
    assert parameters(CifarResNet(residual=False), 32) == 269_722
    assert parameters(CifarResNet(preactivation=True), 32) == 269_722


def test_stages_halve_the_image_in_the_3x3_convolution():
    found = layers(ResNet(depth=50))
    assert found["conv1"] == ((7, 7, 3, 64), (112, 112, 64))
    assert found["layer1/2/conv3"] == ((1, 1, 64, 256), (56, 56, 256))
    assert found["layer2/0/conv1"][1] == (56, 56, 128)
    assert found["layer2/0/conv2"] == ((3, 3, 128, 128), (28, 28, 128))
    assert found["layer2/0/downsample/0"] == ((1, 1, 256, 512), (28, 28, 512))
    assert found["layer4/2/conv3"][1] == (7, 7, 2048)
    assert layers(ResNet(depth=34), 225)["layer4/2/conv2"][1] == (8, 8, 512)


def test_torchvisions_names():
    names = paths(ResNet(depth=18))
    assert {
        "params/conv1/kernel",
        "params/bn1/scale",
        "params/layer2/0/downsample/0/kernel",
        "batch_stats/layer2/0/downsample/1/mean",
        "params/fc/bias",
    } <= names
    assert len(names) == 102  # 122 in torchvision, of which 20 count batches


def test_any_image_size():
    assert layers(ResNet(depth=18), 1)["fc"][1] == (1000,)
    assert layers(CifarResNet(), 1)["fc"][1] == (10,)


def initial(model):
    """Variables without compiling what draws them: random kernels, norms that change nothing."""
    rng = np.random.default_rng(0)

    def start(path, leaf):
        if leaf.ndim > 1:
            return jnp.asarray(rng.normal(size=leaf.shape, scale=0.1), jnp.float32)
        return jnp.full(leaf.shape, float(path[-1].key in ("scale", "var")))

    return jax.tree.map_with_path(start, made(model, 8)[0])


def gradient(model, state):
    """Gradient, logits and batch statistics of a training step."""

    def loss(params):
        everything = {**state, "params": params}
        y, new = model.apply(everything, IMAGES, train=True, mutable=["batch_stats"])
        return jnp.sum(y**2), (y, new)

    return jax.jit(jax.grad(loss, has_aux=True))(state["params"])


def assert_all_learn(grads):
    for leaf in jax.tree.leaves(grads):
        assert jnp.isfinite(leaf).all() and jnp.abs(leaf).max() > 0


@pytest.mark.slow
def test_remat_changes_no_number():
    plain, again = (CifarResNet(depth=8, shortcut="B", remat=remat) for remat in (False, True))
    state = initial(plain)
    expected, found = gradient(plain, state), gradient(again, state)
    assert_all_learn(found[0])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), expected, found
    )


@pytest.mark.parametrize("options", [{"preactivation": True}, {"shortcut": "B"}])
def test_remat_is_there_and_renames_nothing(options):
    plain, again = (CifarResNet(depth=8, remat=remat, **options) for remat in (False, True))
    assert paths(plain, 8) == paths(again, 8)
    for model, blocks in ((plain, 0), (again, 3)):
        state = made(model, 8)[0]
        program = jax.make_jaxpr(lambda state, model=model: model.apply(state, IMAGES))(state)
        assert str(program).count("remat2[") + str(program).count("checkpoint[") == blocks


@pytest.mark.parametrize("options", [{"residual": False}, {"preactivation": True}])
def test_every_parameter_learns(options):
    model = CifarResNet(depth=8, **options)
    assert_all_learn(gradient(model, initial(model))[0])


def at_zero(path, leaf):
    """The kernel at this path, where it is one of a block's."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return leaf * 0 if "layer" in name and name.endswith("kernel") else leaf


@pytest.mark.parametrize("preactivation", [False, True])
def test_shortcut_a_skips_pixels_and_adds_zeros(preactivation):
    model = CifarResNet(outputs=64, depth=8, preactivation=preactivation)
    state = jax.tree.map_with_path(at_zero, initial(model))
    state["params"]["fc"]["kernel"] = jnp.eye(64)  # to see what reaches it
    y, seen = jax.jit(functools.partial(model.apply, capture_intermediates=True))(state, IMAGES)
    first = seen["intermediates"]["bn1"]["__call__"][0]
    np.testing.assert_allclose(y[:, :16], first[:, ::4, ::4].mean((1, 2)), rtol=1e-4)
    np.testing.assert_array_equal(y[:, 16:], 0)


def test_zero_init_starts_blocks_as_identities():
    model = Stage((functools.partial(Block, 4, zero_init=True),) * 2)
    x = jax.nn.relu(IMAGES).repeat(2, -1)[..., :4]
    y, _ = model.init_with_output(jax.random.key(0), x, train=False)
    np.testing.assert_array_equal(y, x)
    bare = Stage((functools.partial(Block, 4),))
    assert jnp.abs(bare.init_with_output(jax.random.key(0), x, train=False)[0] - x).max() > 0


def test_a_stage_without_its_own_activation_comes_first():
    names = paths(ResNet(depth=18, preactivation=True))
    assert "params/layer1/0/bn2/scale" in names and "params/layer1/1/bn1/scale" in names
    assert "params/bn/scale" in names and "params/layer1/0/bn1/scale" not in names


def test_bfloat16():
    model = CifarResNet(depth=8)
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), made(model, 8)[0])
    state["params"] = jax.tree.map(lambda x: x.astype(jnp.bfloat16), state["params"])
    y, new = jax.eval_shape(
        lambda: model.apply(state, IMAGES.astype(jnp.bfloat16), train=True, mutable="batch_stats")
    )
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} == {jnp.dtype("float32")}


def test_wrong_arguments_are_refused():
    for depth in (2, 18, 21):
        with pytest.raises(UserError, match="6n \\+ 2"):
            made(CifarResNet(depth=depth), 32)
    with pytest.raises(UserError, match="zero_init"):
        made(ResNet(zero_init=True, preactivation=True), 32)

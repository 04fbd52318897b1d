"""The networks that steer: their published sizes, and what they look at."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.models.driving import DeepTesla, MotionLSTM, PilotNet, PilotNetLSTM

IMAGES, CLIPS = (2, 66, 200, 3), (2, 3, 66, 200, 3)
SMALL_CLIPS = (2, 3, 61, 61, 3)


def noise(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def shapes(model, shape):
    """Of its variables, without computing them."""
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x), jnp.zeros(shape))


def kernels(model, shape):
    """The shapes of its kernels, in the order of their names."""
    found = jax.tree.leaves_with_path(shapes(model, shape))
    return [leaf.shape for path, leaf in found if "kernel" in str(path[-1])]


def drawn(model, shape):
    """Variables at random."""
    rng = np.random.default_rng(0)
    make = lambda s: jnp.asarray(rng.normal(0, 0.1, s.shape), jnp.float32)  # noqa: E731
    return jax.tree.map(make, shapes(model, shape))


def count(model, shape):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(model, shape)))


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (PilotNet(), IMAGES, 252_219),
        (DeepTesla(), IMAGES, 1_417),
        # Convolutions, a dense layer of 100, four gates of 64, and one number.
        (PilotNetLSTM(), CLIPS, 131_348 + 1153 * 100 + 4 * 64 * (100 + 64 + 1) + 65),
        # 6x13 blocks with two numbers each, and their size; then as above.
        (MotionLSTM(), CLIPS, 158 * 64 + 4 * 64 * (64 + 64 + 1) + 65),
    ],
)
def test_number_of_parameters(model, shape, expected):
    assert count(model, shape) == expected
    outputs = jax.eval_shape(model.apply, shapes(model, shape), jnp.zeros(shape))
    assert outputs.shape == (2,)


def test_pilotnet_is_layer_by_layer_that_of_figure_4():
    dense = [(1 * 18 * 64, 100), (100, 50), (50, 10), (10, 1)]
    convolutions = [(5, 5, 3, 24), (5, 5, 24, 36), (5, 5, 36, 48), (3, 3, 48, 64), (3, 3, 64, 64)]
    assert kernels(PilotNet(), IMAGES) == dense + convolutions


@pytest.fixture(scope="module", params=[PilotNetLSTM, MotionLSTM])
def recurrent(request):
    """What the network says of clips, and some of them."""
    model = request.param(hidden=8)
    variables = drawn(model, SMALL_CLIPS)
    see = jax.jit(model.apply)
    return (lambda x: np.asarray(see(variables, x))), noise(SMALL_CLIPS)


def test_an_lstm_looks_at_every_frame_in_their_order(recurrent):
    see, x = recurrent
    for frame in range(3):
        assert (see(x.at[:, frame].set(0)) != see(x)).all()
    assert (see(x[:, ::-1]) != see(x)).all()


def test_clips_do_not_see_each_other(recurrent):
    see, x = recurrent
    changed = see(x.at[1].set(noise(x[1].shape, 1)))
    assert (changed == see(x)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("kind", "shape", "inputs"),
    [
        (PilotNet, IMAGES, [1152, 100, 50]),
        (PilotNetLSTM, CLIPS, [1152, 100]),
        (MotionLSTM, CLIPS, [64]),
    ],
    ids=["frame", "clip", "motion"],
)
def test_dropout_only_in_training(kind, shape, inputs):
    model, cut = kind(dropout=0.5), []

    def watch(call, args, kwargs, context):
        module = context.module
        if isinstance(module, nn.Dropout) and not module.deterministic:
            cut.append((module.rate, args[0].shape[-1]))
        return call(*args, **kwargs)

    for train in (False, True):
        assert not cut
        with nn.intercept_methods(watch):
            rngs = {"dropout": jax.random.key(0)}
            apply = functools.partial(model.apply, train=train, rngs=rngs)
            jax.eval_shape(apply, shapes(model, shape), jnp.zeros(shape))
    assert cut == [(0.5, size) for size in inputs]
    with pytest.raises(UserError, match=r"must be in \[0, 1\), got 1"):
        shapes(kind(dropout=1.0), shape)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (PilotNet(), (2, 60, 200, 3), "at least 61x61 pixels, got 60x200"),
        (PilotNet(), CLIPS, "takes images"),
        (DeepTesla(), (2, 55, 200, 3), "at least 56x56 pixels, got 55x200"),
        (PilotNetLSTM(), IMAGES, "takes clips .* set config.data.clips"),
        (PilotNetLSTM(), (2, 3, 66, 60, 3), "at least 61x61"),
        (MotionLSTM(), IMAGES, "takes clips .* at least 2 frames.* set config.data.clips"),
        (MotionLSTM(), (2, 1, 66, 200, 3), "at least 2 frames"),
        (MotionLSTM(), (2, 3, 66, 31, 3), "at least 32x32"),
    ],
)
def test_refuses(model, shape, message):
    with pytest.raises(UserError, match=message):
        shapes(model, shape)


def test_the_smallest_images():
    for model, side in ((PilotNet(), 61), (DeepTesla(), 56)):
        shapes(model, (1, side, side, 3))
    shapes(MotionLSTM(), (1, 2, 32, 32, 3))


def test_what_stands_still_has_the_look_of_nothing_and_a_wall_of_one_colour_too():
    model = MotionLSTM(hidden=8)
    variables = drawn(model, CLIPS)
    still = jnp.repeat(noise((2, 1, 66, 200, 3)), 3, axis=1)
    outputs = model.apply(variables, jnp.concatenate([still, jnp.full(CLIPS, 0.3)]))
    # Noise matches nowhere but where it is: no motion. A wall matches everywhere: none on average.
    np.testing.assert_allclose(outputs, np.full(4, outputs[0]), rtol=1e-5)


def test_light_and_colours_of_a_clip_do_not_matter_but_its_motion_does():
    model = MotionLSTM(hidden=8)
    variables = drawn(model, CLIPS)
    x = jnp.stack([jnp.roll(noise((1, 66, 200, 3)), 2 * k, axis=2) for k in range(3)], axis=1)
    see = jax.jit(model.apply)
    same = see(variables, x)
    np.testing.assert_allclose(see(variables, x[..., ::-1]), same, rtol=1e-4)
    np.testing.assert_allclose(see(variables, x + 0.2), same, rtol=1e-4)
    assert (np.abs(see(variables, x[:, ::-1]) - same) > 1e-2).all()

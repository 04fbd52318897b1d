import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.transforms import TRANSFORMS
from jaxdl.transforms.base import compose
from jaxdl.transforms.basic import flatten, scale, standardize, unroll
from jaxdl.transforms.geometry import random_crop, random_flip

SHAPE = (6, 5, 2)
PLAIN = {
    "flatten": flatten(),
    "scale": scale(),
    "standardize": standardize(0.5, 2.0),
    "unroll": unroll(6),
}


def images(count=8):
    return np.random.RandomState(0).randint(1, 200, (count, *SHAPE)).astype(np.uint8)


def apply(transform, x, seed=0):
    batch = {"image": jnp.asarray(x)}
    return np.asarray(jax.jit(transform)(batch, jax.random.key(seed))["image"])


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_transform_changes_its_column_alone_and_without_the_key(name):
    x = {"image": jnp.asarray(images()), "label": jnp.arange(8), "mask": jnp.ones(8)}
    done, again = (jax.jit(PLAIN[name])(x, jax.random.key(seed)) for seed in (0, 1))
    assert set(done) == set(x) and TRANSFORMS[name].__name__ == name
    for column in ("label", "mask"):
        np.testing.assert_array_equal(done[column], x[column])
    np.testing.assert_array_equal(done["image"], again["image"])


def test_scale():
    x = images()
    np.testing.assert_allclose(apply(scale(), x), x / np.float32(255), rtol=1e-6)
    done = apply(scale(by=2.0, shift=-1.0), x)
    assert done.dtype == np.float32
    np.testing.assert_array_equal(done, 2.0 * x - 1)
    assert scale()({"image": jnp.ones(3, jnp.bfloat16)}, jax.random.key(0))["image"].dtype == (
        jnp.bfloat16
    )


def test_standardize_per_channel():
    x = images(50)
    mean, std = x.mean(axis=(0, 1, 2)), x.std(axis=(0, 1, 2))
    done = apply(standardize(tuple(map(float, mean)), tuple(map(float, std))), x)
    np.testing.assert_allclose(done.mean(axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(done.std(axis=(0, 1, 2)), 1, atol=1e-4)
    np.testing.assert_array_equal(apply(standardize(1.0, 4.0), x), (x - np.float32(1)) / 4)


def test_flatten():
    np.testing.assert_array_equal(apply(flatten(), images()), images().reshape(8, -1))


def test_unroll():
    np.testing.assert_array_equal(apply(unroll(15), images()), images().reshape(8, 15, 4))


def test_compose_is_left_to_right_with_a_key_for_each():
    key, x = jax.random.key(3), {"image": jnp.asarray(images())}
    first, second = random_crop(2), random_flip()
    step_by_step = second(first(x, jax.random.fold_in(key, 0)), jax.random.fold_in(key, 1))
    np.testing.assert_array_equal(compose([first, second])(x, key)["image"], step_by_step["image"])
    assert compose([])(x, key) is x
    twice = compose([random_crop(2), random_crop(2)])
    assert not np.array_equal(twice(x, key)["image"], compose([random_crop(4)])(x, key)["image"])


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: scale(by=float("nan")), "by=nan"),
        (lambda: standardize(0.0, 0.0), "std=0.0"),
        (lambda: standardize((0.0, 1.0), (1.0, -1.0)), "std=(1.0, -1.0)"),
        (lambda: standardize(float("inf"), 1.0), "mean"),
        (lambda: standardize((), 1.0), "mean"),
        (lambda: standardize(1.0, ()), "std"),
        (lambda: apply(unroll(0), images()), "steps=0"),
        (lambda: apply(unroll(7), images()), "does not divide the 60"),
    ],
)
def test_refuses_settings(refuses, make, fragment):
    with refuses(fragment):
        make()


def test_refuses_batches_that_do_not_fit(refuses):
    with refuses("scale", "'picture'", "the batch has image"):
        apply(scale(column="picture"), images())
    with refuses("random_crop", "(8, 60)", "flattens"):
        apply(compose([flatten(), random_crop(1)]), images())
    with refuses("standardize", "3 values", "2 channels"):
        apply(standardize((1.0, 2.0, 3.0), 1.0), images())

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.transforms import (
    TRANSFORMS,
    compose,
    flatten,
    random_affine,
    random_crop,
    random_flip,
    scale,
    standardize,
    unroll,
)

RANDOM = {
    "random_affine": random_affine(rotate=20.0, zoom=0.2, shear=0.1, shift=2.0),
    "random_crop": random_crop(2),
    "random_flip": random_flip(),
}
SHAPE = (6, 5, 2)


def images(count=8, seed=0, shape=SHAPE, dtype=np.uint8):
    return np.random.RandomState(seed).randint(1, 200, (count, *shape)).astype(dtype)


def apply(transform, x, seed=0):
    batch = {"image": jnp.asarray(x)}
    return np.asarray(jax.jit(transform)(batch, jax.random.key(seed))["image"])


def test_every_transform_leaves_the_other_columns_alone():
    batch = {"image": jnp.asarray(images()), "label": jnp.arange(8), "mask": jnp.ones(8)}
    others = [scale(), flatten(), standardize(0.5, 2.0), unroll(6)]
    assert len(TRANSFORMS) == len(RANDOM) + len(others)
    for transform in (*RANDOM.values(), *others):
        done = jax.jit(transform)(batch, jax.random.key(0))
        assert set(done) == set(batch)
        for name in ("label", "mask"):
            np.testing.assert_array_equal(done[name], batch[name])


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


def test_flip_is_each_image_or_its_mirror():
    x = images(400, shape=(2, 3, 1))
    done = apply(random_flip(), x)
    same, mirrored = ((done == y).all(axis=(1, 2, 3)) for y in (x, x[:, :, ::-1]))
    assert (same | mirrored).all()
    assert 150 < (mirrored & ~same).sum() < 250
    np.testing.assert_array_equal(apply(random_flip(), done), x)  # the same key again


CROPS = [random_crop(padding) for padding in range(1, 5)]  # compiled once each


@given(padding=st.integers(1, 4), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_crop_is_a_slice_of_the_padded_image(padding, seed):
    x = images(seed=seed)
    done = apply(CROPS[padding - 1], x, seed)
    corners = jax.random.randint(jax.random.key(seed), (8, 2), 0, 2 * padding + 1)
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    for i, (top, left) in enumerate(np.asarray(corners)):
        height, width, _ = SHAPE
        np.testing.assert_array_equal(done[i], padded[i, top : top + height, left : left + width])


def test_crop_shifts_every_way():
    x = np.zeros((500, 5, 5, 1), np.uint8)
    x[:, 2, 2] = 1
    places = {tuple(np.argwhere(image)[0][:2]) for image in apply(random_crop(2), x)}
    assert places == {(i, j) for i in range(5) for j in range(5)}


@pytest.fixture
def dot():
    """(200, 9, 9, 1) images, each a dot two pixels right of the middle."""
    x = np.zeros((200, 9, 9, 1), np.float32)
    x[:, 4, 6] = 1
    return x


def centroids(x):
    mass = x[..., 0].sum(axis=(1, 2))
    down, right = ((x[..., 0] * grid).sum(axis=(1, 2)) / mass for grid in np.mgrid[-4:5, -4:5])
    return down, right, mass


def test_affine_rotates_about_the_middle(dot):
    down, right, _ = centroids(apply(random_affine(rotate=30.0), dot))
    angle = np.degrees(np.arctan2(down, right))
    assert 25 < angle.max() < 33 and -33 < angle.min() < -25
    np.testing.assert_allclose(np.hypot(down, right), 2, atol=0.1)


def test_affine_shifts(dot):
    down, right, mass = centroids(apply(random_affine(shift=1.5), dot))
    np.testing.assert_allclose(mass, 1, rtol=1e-5)
    for moved in (down, right - 2):
        assert 1.3 < moved.max() <= 1.5 and -1.5 <= moved.min() < -1.3
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.2


def test_affine_zooms(dot):
    _, right, _ = centroids(apply(random_affine(zoom=0.5), dot))
    assert right.min() < 1.3 and right.max() > 2.7


def test_affine_shears(dot):
    dot = np.roll(dot, 2, axis=1)  # now two down and two right
    down, right, _ = centroids(apply(random_affine(shear=0.5), dot))
    np.testing.assert_allclose(down, 2, atol=1e-5)
    assert right.min() < 1.2 and right.max() > 2.8


def test_affine_agrees_with_scipy():
    from scipy.ndimage import map_coordinates

    from jaxdl.data.transforms import _interpolate

    x = images(1, dtype=np.float32)[0]
    place = np.random.RandomState(1).uniform(-3, 9, (7, 4, 2)).astype(np.float32)
    for channel in range(2):
        expected = map_coordinates(
            x[..., channel], np.moveaxis(place, -1, 0), order=1, mode="grid-constant"
        )
        done = _interpolate(jnp.asarray(x), jnp.asarray(place))[..., channel]
        np.testing.assert_allclose(done, expected, atol=1e-3)


def test_affine_keeps_bytes():
    x = images()
    done, exact = (apply(random_affine(shift=1.0), x.astype(t)) for t in (np.uint8, np.float32))
    assert done.dtype == np.uint8
    np.testing.assert_array_equal(done, np.round(exact))


@pytest.mark.parametrize("name", RANDOM)
def test_random_is_what_the_key_says(name):
    x, transform = images(64), RANDOM[name]
    done = apply(transform, x)
    assert done.shape == x.shape and done.dtype == x.dtype
    np.testing.assert_array_equal(done, apply(transform, x))
    assert (done != apply(transform, x, seed=1)).any()
    alike = apply(transform, np.repeat(images(1), 64, axis=0))
    assert len({image.tobytes() for image in alike}) > 1  # each image draws for itself


@pytest.mark.parametrize("name", RANDOM)
def test_images_do_not_touch_each_other(name):
    x, other = images(), images(seed=1)
    other[3] = x[3]
    np.testing.assert_array_equal(apply(RANDOM[name], x)[3], apply(RANDOM[name], other)[3])


@pytest.mark.parametrize("name", RANDOM)
def test_vmap_over_seeds_is_each_seed_alone(name):
    keys, x = jax.random.split(jax.random.key(0), 3), jnp.asarray(images())
    one = jax.jit(lambda key: RANDOM[name]({"image": x}, key)["image"])
    together = jax.jit(jax.vmap(one))(keys)
    for i, key in enumerate(keys):
        np.testing.assert_array_equal(together[i], one(key))


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
        (lambda: random_crop(0), "padding=0"),
        (lambda: random_crop(-2), "padding=-2"),
        (lambda: random_affine(), "at least one"),
        (lambda: random_affine(rotate=-5.0), "rotate=-5.0"),
        (lambda: random_affine(zoom=1.0), "zoom=1.0"),
        (lambda: random_affine(shift=float("nan")), "shift=nan"),
    ],
)
def test_refuses_settings(refuses, make, fragment):
    with refuses(fragment):
        make()


def test_refuses_batches_that_do_not_fit(refuses):
    x = images()
    with refuses("random_flip", "'picture'", "the batch has image"):
        apply(random_flip(column="picture"), x)
    with refuses("random_crop", "(8, 60)", "flattens"):
        apply(compose([flatten(), random_crop(1)]), x)
    with refuses("standardize", "3 values", "2 channels"):
        apply(standardize((1.0, 2.0, 3.0), 1.0), x)

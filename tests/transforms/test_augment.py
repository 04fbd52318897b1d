"""Augmentation against NumPy, SciPy, Pillow and colorsys."""

import colorsys
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from jaxdl.transforms import TRANSFORMS, color
from jaxdl.transforms.base import compose
from jaxdl.transforms.color import color_jitter, pca_color, random_shadow, yuv
from jaxdl.transforms.erasing import cutout, random_erasing
from jaxdl.transforms.geometry import (
    interpolate,
    random_affine,
    random_crop,
    random_flip,
    views,
)
from jaxdl.transforms.mixing import cutmix, mix, mixup
from jaxdl.transforms.rand_augment import OPERATIONS, augment, rand_augment

MIXING = {"cutmix": cutmix(), "mix": mix(mixup=1.0), "mixup": mixup(alpha=1.0)}
COLORS = {
    "color_jitter": color_jitter(0.4, 0.4, 0.4, hue=0.1),
    "pca_color": pca_color(),
    "rand_augment": rand_augment(),
    "random_shadow": random_shadow(),
}
RANDOM = {
    "cutout": cutout(3),
    "random_affine": random_affine(rotate=20.0, zoom=0.2, shear=0.1, shift=2.0),
    "random_crop": random_crop(2),
    "random_erasing": random_erasing(probability=0.9, value="noise"),
    "random_flip": random_flip(),
    **COLORS,
    **MIXING,
}
SHAPE = (6, 5, 3)


def images(count=16, seed=0, shape=SHAPE, dtype=np.uint8):
    return np.random.RandomState(seed).randint(1, 200, (count, *shape)).astype(dtype)


def apply(transform, x, seed=0):
    """The whole batch, of images and labels from 0, transformed."""
    batch = {"image": jnp.asarray(x), "label": jnp.arange(len(x))}
    done = jax.jit(transform)(batch, jax.random.key(seed))
    return {name: np.asarray(column) for name, column in done.items()}


def image_of(transform, x, seed=0):
    return apply(transform, x, seed)["image"]


# What holds of all.


def test_every_random_transform_is_here():
    plain = {"flatten", "scale", "standardize", "unroll", "views", "yuv"}
    elsewhere = {"mosaic", "random_zoom"}  # with boxes, in test_moves.py
    elsewhere |= {"random_reverse"}  # of clips, in test_clips.py
    assert set(TRANSFORMS) == set(RANDOM) | plain | elsewhere


@pytest.mark.parametrize("name", RANDOM)
def test_random_is_what_the_key_says(name):
    x, transform = images(), RANDOM[name]
    done, again, other = apply(transform, x), apply(transform, x), apply(transform, x, seed=1)
    assert done["image"].shape == x.shape and done["image"].dtype == x.dtype
    assert set(done) == {"image", "label"} | ({"other_label", "share"} & set(done))
    np.testing.assert_array_equal(done["label"], np.arange(len(x)))
    np.testing.assert_array_equal(done["image"], again["image"])
    assert (done["image"] != other["image"]).any()
    alike = apply(transform, np.repeat(images(1), len(x), axis=0))
    drawn = alike["share"] if name in MIXING else alike["image"]
    assert len({one.tobytes() for one in drawn}) > 1  # each image draws for itself


@pytest.mark.parametrize("name", RANDOM)
def test_images_touch_at_most_a_neighbour(name):
    x, other = images(), images(seed=1)
    kept = [3, 4] if name in MIXING else [3]
    other[kept] = x[kept]
    done, changed = (image_of(RANDOM[name], y) for y in (x, other))
    np.testing.assert_array_equal(done[3], changed[3])


@pytest.mark.parametrize("name", COLORS)
def test_bytes_are_rounded_floats(name):
    x = images()
    bytes_, floats = (image_of(COLORS[name], y) for y in (x, (x / 255).astype(np.float32)))
    assert bytes_.dtype == np.uint8 and floats.dtype == np.float32
    np.testing.assert_allclose(bytes_, 255 * floats, atol=0.5 + 1e-3)
    half = {"image": jnp.asarray(x / 255, jnp.bfloat16)}
    assert jax.eval_shape(COLORS[name], half, jax.random.key(0))["image"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    "transform",
    [
        color_jitter(0.0, 0.0, 0.0),
        pca_color(std=0.0),
        rand_augment(layers=0),
        random_erasing(probability=0.0),
        mix(mixup=0.0, cutmix=0.0),
    ],
)
def test_no_strength_is_no_change(transform):
    done = apply(transform, images())
    np.testing.assert_array_equal(done["image"], images())
    np.testing.assert_array_equal(done.get("share", 1.0), 1.0)


TOGETHER = compose([random_crop(2), random_flip(), mix()])


def test_vmap_over_seeds_is_each_seed_alone():
    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    batch = {"image": jnp.asarray(images()), "label": jnp.arange(16)}
    together = jax.jit(jax.vmap(TOGETHER, (None, 0)))(batch, keys)["image"]
    for seed in range(3):
        np.testing.assert_array_equal(together[seed], image_of(TOGETHER, images(), seed))


def test_a_batch_over_devices_is_transformed_alike():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    command, environment = [sys.executable, __file__], {**os.environ, "XLA_FLAGS": flags}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = apply(TOGETHER, images())
    found = json.loads(done.stdout)
    np.testing.assert_array_equal(found["image"], expected["image"])
    np.testing.assert_allclose(found["share"], expected["share"], rtol=1e-6)


# Where things are.


def test_flip_is_each_image_or_its_mirror():
    x = images(400, shape=(2, 3, 1))
    done = image_of(random_flip(), x)
    same, mirrored = ((done == y).all(axis=(1, 2, 3)) for y in (x, x[:, :, ::-1]))
    assert (same | mirrored).all()
    assert 150 < (mirrored & ~same).sum() < 250
    np.testing.assert_array_equal(image_of(random_flip(), done), x)  # the same key again


def test_alternating_flips_show_both_sides_in_any_two_epochs():
    x = np.repeat(images(1, shape=(2, 3, 1)), 400, axis=0)

    def seen(epoch, rows, seed=0):
        columns = {"row": jnp.asarray(rows), "epoch": jnp.full(len(rows), epoch)}
        batch = {"image": jnp.asarray(x[rows]), **columns}
        done = random_flip(alternate=True)(batch, jax.random.key(seed))["image"]
        return (np.asarray(done) != x[rows]).any(axis=(1, 2, 3))

    rows = np.arange(400)
    first = seen(0, rows)
    assert 150 < first.sum() < 250
    np.testing.assert_array_equal(seen(1, rows), ~first)
    np.testing.assert_array_equal(seen(6, rows[::-1], seed=1)[::-1], first)  # of a row and an epoch


def test_flip_turns_the_sign_of_columns_where_it_mirrors():
    x, angle = images(400, shape=(2, 3, 1)), np.linspace(-1, 1, 400, dtype=np.float32)
    batch = {"image": jnp.asarray(x), "angle": jnp.asarray(angle), "gear": -jnp.arange(400)}
    done = random_flip(negate=("angle", "gear"))(batch, jax.random.key(0))
    mirrored = (done["image"] != x).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(done["image"], image_of(random_flip(), x))
    np.testing.assert_array_equal(done["angle"], np.where(mirrored, -angle, angle))
    np.testing.assert_array_equal(done["gear"], np.where(mirrored, 1, -1) * np.arange(400))


FILLS = {"zero": "constant", "reflect": "reflect"}  # as NumPy calls them
CROPS = {  # compiled once each
    (padding, fill): random_crop(padding, fill) for padding in (1, 4) for fill in FILLS
}


@given(which=st.sampled_from(list(CROPS)), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_crop_is_a_slice_of_the_padded_image(which, seed):
    (padding, fill), x = which, images(8, seed=seed)
    done = image_of(CROPS[which], x, seed)
    corners = jax.random.randint(jax.random.key(seed), (8, 2), 0, 2 * padding + 1)
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(x, around, mode=FILLS[fill])
    for i, (top, left) in enumerate(np.asarray(corners)):
        height, width, _ = SHAPE
        np.testing.assert_array_equal(done[i], padded[i, top : top + height, left : left + width])


def test_crop_shifts_every_way():
    x = np.zeros((500, 5, 5, 1), np.uint8)
    x[:, 2, 2] = 1
    places = {tuple(np.argwhere(image)[0][:2]) for image in image_of(random_crop(2), x)}
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
    down, right, _ = centroids(image_of(random_affine(rotate=30.0), dot))
    angle = np.degrees(np.arctan2(down, right))
    assert 25 < angle.max() < 33 and -33 < angle.min() < -25
    np.testing.assert_allclose(np.hypot(down, right), 2, atol=0.1)


def test_affine_shifts(dot):
    down, right, mass = centroids(image_of(random_affine(shift=1.5), dot))
    np.testing.assert_allclose(mass, 1, rtol=1e-5)
    for moved in (down, right - 2):
        assert 1.3 < moved.max() <= 1.5 and -1.5 <= moved.min() < -1.3
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.2


def test_affine_zooms(dot):
    _, right, _ = centroids(image_of(random_affine(zoom=0.5), dot))
    assert right.min() < 1.3 and right.max() > 2.7


def test_affine_shears(dot):
    dot = np.roll(dot, 2, axis=1)  # now two down and two right
    down, right, _ = centroids(image_of(random_affine(shear=0.5), dot))
    np.testing.assert_allclose(down, 2, atol=1e-5)
    assert right.min() < 1.2 and right.max() > 2.8


def test_interpolation_is_scipys():
    from scipy.ndimage import map_coordinates

    x = images(1, dtype=np.float32)[0]
    place = np.random.RandomState(1).uniform(-3, 9, (2, 7, 4)).astype(np.float32)
    done = np.asarray(interpolate(jnp.asarray(x), *jnp.asarray(place)))
    for channel in range(3):
        expected = map_coordinates(x[..., channel], place, order=1, mode="grid-constant")
        np.testing.assert_allclose(done[..., channel], expected, atol=1e-3)


def test_affine_keeps_bytes():
    x = images()
    done, exact = (image_of(random_affine(shift=1.0), x.astype(t)) for t in (np.uint8, np.float32))
    assert done.dtype == np.uint8
    np.testing.assert_array_equal(done, np.round(exact))


# What is cut out.


def box(hole):
    """Height and width of the rectangle that a mask is; refuses any other shape."""
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    assert hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    return rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1


@pytest.mark.parametrize("size", [3, 4])
def test_cutout_is_a_square_about_any_pixel(size):
    x = np.full((400, 6, 5, 3), 9, np.uint8)
    done = image_of(cutout(size, value=(1.0, 2.0, 3.0)), x)
    shapes = set()
    for image in done:
        hole = (image != 9).all(-1)
        np.testing.assert_array_equal(image[hole], [[1, 2, 3]] * hole.sum())
        assert (image[~hole] == 9).all()
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        box(hole)
        shapes.add((*rows[[0, -1]], *columns[[0, -1]]))
    middles = [(i - size // 2, j - size // 2) for i in range(6) for j in range(5)]
    assert shapes == {
        (max(i, 0), min(i + size, 6) - 1, max(j, 0), min(j + size, 5) - 1) for i, j in middles
    }


def test_erasing_draws_rectangles_within_its_bounds():
    x = np.full((300, 40, 60, 1), 7, np.uint8)
    done = image_of(random_erasing(0.5, (0.1, 0.3), (0.5, 2.0), value=1.0), x)[..., 0]
    holes = [image == 1 for image in done if (image != 7).any()]
    assert 120 < len(holes) < 180
    height, width = np.array([box(hole) for hole in holes]).T
    area, ratio = height * width / 2400, height / width
    assert 0.09 < area.min() < 0.13 and 0.27 < area.max() < 0.31
    assert 0.47 < ratio.min() < 0.6 and 1.7 < ratio.max() < 2.13
    assert abs(np.mean(ratio > 1) - 0.5) < 0.12  # as often high as wide
    corners = {tuple(np.argwhere(hole)[0]) for hole in holes}
    assert len(corners) > 100


def test_erasing_leaves_images_that_no_rectangle_fits():
    x = images()
    np.testing.assert_array_equal(image_of(random_erasing(1.0, (0.9, 1.0), (9.0, 9.9)), x), x)


def test_erasing_by_noise_fills_the_range():
    x = np.full((50, 20, 20, 3), 0.5, np.float32)
    done = image_of(random_erasing(1.0, value="noise"), x)
    noise = done[done != x]
    bytes_ = [image_of(RANDOM["random_erasing"], np.zeros_like(images()), i) for i in range(20)]
    bytes_ = np.concatenate(bytes_)[np.concatenate(bytes_) > 0]
    for drawn, white in ((noise, 1), (bytes_, 256)):
        assert drawn.size > 4000
        levels = np.histogram(drawn, 4, (0, white))[0] / drawn.size
        np.testing.assert_allclose(levels, 0.25, atol=0.03)


# Colours.


def reference(name, image, factor):
    """Of one image of floats from 0 to 1, by NumPy and colorsys."""
    if name == "hue":
        turned = [
            colorsys.hsv_to_rgb((h + factor) % 1, s, v)
            for h, s, v in (colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3))
        ]
        return np.array(turned).reshape(image.shape)
    luma = (image @ [0.299, 0.587, 0.114])[..., None]
    other = {"brightness": 0.0, "contrast": luma.mean(), "saturation": luma}[name]
    return np.clip(factor * image + (1 - factor) * other, 0, 1)


def test_jitter_is_four_changes_one_after_the_other():
    x = np.random.RandomState(0).rand(16, *SHAPE).astype(np.float32)
    bounds = {
        "brightness": (0.5, 1.5),
        "contrast": (0.7, 1.3),
        "saturation": (0.0, 2.2),
        "hue": (-0.2, 0.2),
    }
    key, expected = jax.random.key(0), x.astype(np.float64)
    for i, (name, (low, high)) in enumerate(bounds.items()):
        factors = jax.random.uniform(jax.random.fold_in(key, i), (16,), minval=low, maxval=high)
        expected = np.stack(
            [reference(name, *pair) for pair in zip(expected, np.asarray(factors), strict=True)]
        )
    np.testing.assert_allclose(
        image_of(color_jitter(0.5, 0.3, 1.2, hue=0.2), x), expected, atol=1e-5
    )


def test_hue_is_colorsys_also_of_greys_and_pure_colours():
    corners = np.array(np.meshgrid(*[[0.0, 0.4, 1.0]] * 3)).reshape(3, 3, 9).transpose(1, 2, 0)
    image = corners.astype(np.float32)
    for turn in (0.0, 1 / 3, -0.4, 0.5):
        np.testing.assert_allclose(
            color.turn_hue(jnp.asarray(image), turn), reference("hue", image, turn), atol=1e-6
        )


def test_jitter_of_grey_images():
    x = images(shape=(6, 5, 1))
    done = image_of(color_jitter(0.4, 0.4, 0.0), x)
    assert done.shape == x.shape and (done != x).any()


def test_pca_color_adds_components_by_their_deviation():
    x = np.full((3000, 2, 2, 3), 0.5, np.float32)
    shift = image_of(pca_color(), x) - x
    assert np.ptp(shift, axis=(1, 2)).max() == 0
    vectors = np.array(color._VECTORS)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-3)
    alpha = shift[:, 0, 0] @ vectors / color._VALUES
    np.testing.assert_allclose(alpha.mean(0), 0, atol=0.008)
    np.testing.assert_allclose(alpha.std(0), 0.1, atol=0.005)
    np.testing.assert_allclose(np.corrcoef(alpha.T), np.eye(3), atol=0.06)


def test_shadows_lie_on_one_side_of_a_line():
    x = np.full((400, 20, 30, 3), 0.8, np.float32)
    done = image_of(random_shadow(0.6, (0.25, 0.75)), x)
    dark = (done != x).all(-1)
    np.testing.assert_array_equal(dark, (done != x).any(-1))
    shaded = dark.any(axis=(1, 2))
    assert 200 < shaded.sum() < 280
    depths, sides, slopes = [], 0, []
    for image, shadow in zip(done[shaded, ..., 0] / 0.8, dark[shaded], strict=True):
        depths.append(image[shadow][0])
        np.testing.assert_array_equal(image[shadow], depths[-1])
        edge = shadow if shadow[:, 0].any() else ~shadow  # what is left of the line
        sides += edge is shadow
        width = edge.sum(axis=1)
        np.testing.assert_array_equal(edge, np.arange(30) < width[:, None])
        line = width[0] + (width[-1] - width[0]) * np.linspace(0, 1, 20)
        np.testing.assert_allclose(width, line, atol=1.01)
        slopes.append(width[-1] - width[0])
    assert 0.25 <= min(depths) < 0.3 and 0.7 < max(depths) <= 0.75
    assert 0.35 < sides / shaded.sum() < 0.65
    assert min(slopes) < -15 and max(slopes) > 15


def test_yuv_is_that_of_jpeg():
    pure = 255 * np.array(np.meshgrid([0, 1], [0, 1], [0, 1]), np.uint8).reshape(3, 2, 4)
    x = np.stack([np.moveaxis(pure, 0, -1), *images(16, shape=(2, 4, 3))])
    done = image_of(yuv(), x)
    assert done.dtype == np.uint8
    matrix = [
        [0.299, 0.587, 0.114],
        [-0.168735892, -0.331264108, 0.5],
        [0.5, -0.418687589, -0.081312411],
    ]
    expected = x @ np.transpose(matrix) + [0, 127.5, 127.5]
    np.testing.assert_allclose(done, expected, atol=0.5 + 1e-3)
    pillow = np.stack([np.asarray(Image.fromarray(one).convert("YCbCr")) for one in x])
    assert np.abs(done.astype(int) - pillow).max() <= 1  # whose grey is 128


@pytest.fixture
def photo():
    """(24, 20, 3) bytes, with a bias to dark, and a channel of few levels."""
    rng = np.random.RandomState(0)
    x = (rng.rand(24, 20, 3) ** 2 * 230 + 10).astype(np.uint8)
    x[..., 2] = x[..., 2] // 60 * 60
    return x


def augmented(image, name, amount):
    """By the operation, in units of levels."""
    operation = jnp.int32(OPERATIONS.index(name))
    return 255 * np.asarray(ONE(jnp.asarray(image / 255, jnp.float32), operation, amount))


ONE = jax.jit(augment)


@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("name", ["equalize", "posterize", "solarize"])
def test_tones_are_pillows(photo, name, strength):
    pillow = {
        "equalize": ImageOps.equalize,
        "posterize": lambda x: ImageOps.posterize(x, 8 - round(strength * 4)),
        "solarize": lambda x: ImageOps.solarize(x, 255 * (1 - strength)),
    }[name]
    expected = np.asarray(pillow(Image.fromarray(photo)))
    np.testing.assert_array_equal(np.round(augmented(photo, name, strength)), expected)
    assert (expected != photo).any()


def test_autocontrast_is_pillows_but_for_its_cutting_off(photo):
    photo[..., 1] = 77  # a single level
    done = augmented(photo, "autocontrast", 0.3)
    expected = np.asarray(ImageOps.autocontrast(Image.fromarray(photo))).astype(int)
    assert (np.abs(done - expected - 0.5) <= 0.5 + 1e-3).all()
    np.testing.assert_array_equal(np.ptp(done, axis=(0, 1)).round(), [255, 0, 255])


@pytest.mark.parametrize("amount", [-1.0, -0.3, 0.3, 1.0])
@pytest.mark.parametrize("name", ["color", "contrast", "brightness", "sharpness"])
def test_factors_are_pillows_to_its_rounding(photo, name, amount):
    enhance, factor = getattr(ImageEnhance, name.capitalize()), 1 + 0.9 * amount
    expected = np.asarray(enhance(Image.fromarray(photo)).enhance(factor)).astype(int)
    done = augmented(photo, name, amount)
    # It rounds what it blends with, and cuts off the fractions of the result.
    assert np.abs(done - expected - 0.5).max() <= 0.5 + 0.5 * abs(1 - factor) + 1e-3
    assert np.abs(done - photo).max() > 5


@pytest.mark.parametrize("amount", [-1.0, 0.4])
@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_moves_are_scipys(photo, name, amount):
    from scipy.ndimage import affine_transform

    back, shift = np.eye(2), np.zeros(2)
    if name == "rotate":
        angle = np.radians(30 * amount)
        back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    elif name.startswith("shear"):
        back[(1, 0) if name == "shear_x" else (0, 1)] = 0.3 * amount
    else:
        axis = 1 if name == "translate_x" else 0
        shift[axis] = amount * 150 / 331 * photo.shape[axis]
    middle = (np.array(photo.shape[:2]) - 1) / 2
    offset = middle - back @ (middle + shift)
    done = augmented(photo, name, amount)
    for channel in range(3):
        plane = photo[..., channel].astype(np.float64)
        expected = affine_transform(plane, back, offset, order=1, mode="grid-constant")
        np.testing.assert_allclose(done[..., channel], expected, atol=0.02)


@pytest.mark.parametrize("name", OPERATIONS)
def test_magnitude_0_changes_only_what_has_no_magnitude(photo, name):
    done = augmented(photo, name, 0.0)
    if name in ("autocontrast", "equalize"):
        assert np.abs(done - photo).max() > 5
    else:
        np.testing.assert_allclose(done, photo, atol=1e-3)


def test_rand_augment_applies_operations_in_turn_all_alike_likely():
    count = 2000
    x = np.random.RandomState(0).rand(16, *SHAPE).astype(np.float32)
    operations, signs = jax.random.split(jax.random.key(0))
    drawn = jax.random.randint(operations, (3, 16), 0, 14)
    amounts = 0.5 * jax.random.rademacher(signs, (3, 16), jnp.float32)
    expected = list(jnp.asarray(x))
    for layer in range(3):
        expected = [ONE(*one) for one in zip(expected, drawn[layer], amounts[layer], strict=True)]
    np.testing.assert_allclose(
        image_of(rand_augment(layers=3, magnitude=15), x), np.stack(expected), atol=1e-4
    )
    # Solarised at magnitude 30, a grey is inverted; posterised, it keeps 4 bits; and so on.
    grey = np.full((count, 3, 3, 1), 0.3, np.float32)
    done = image_of(rand_augment(layers=1, magnitude=30), grey)[:, 1, 1, 0]
    assert 100 < np.isclose(done, 0.7, atol=1e-3).sum() < 190  # of 2000 / 14 = 143
    assert 100 < (np.isclose(done, 0.03, atol=1e-3) | np.isclose(done, 0.57, atol=1e-3)).sum() < 190


# Two examples in one.


def test_mixup_is_a_weighted_sum_with_the_next():
    x = images()
    done = apply(MIXING["mixup"], x)
    share = done["share"][:, None, None, None]
    expected = share * x + (1 - share) * np.roll(x, -1, axis=0)
    np.testing.assert_allclose(done["image"], expected, atol=0.5 + 1e-3)
    np.testing.assert_array_equal(done["other_label"], [*range(1, 16), 0])
    assert done["share"].dtype == np.float32


def test_shares_are_of_the_beta_distribution():
    from scipy.stats import beta, kstest

    share = apply(mixup(alpha=0.2), np.zeros((1500, 1, 1, 1), np.float32))["share"]
    assert kstest(share, beta(0.2, 0.2).cdf).pvalue > 0.01


def test_cutmix_pastes_a_rectangle_of_the_next():
    x = np.broadcast_to(np.arange(16)[:, None, None, None], (16, *SHAPE)).astype(np.uint8)
    shares = []
    for seed in range(20):
        done = apply(MIXING["cutmix"], x, seed)
        shares += [*done["share"]]
        for i, image in enumerate(done["image"]):
            own, other = (image == i).all(-1), (image == (i + 1) % 16).all(-1)
            assert (own ^ other).all()
            assert done["share"][i] == pytest.approx(own.mean(), abs=1e-6)
            if other.any():
                box(other)
    assert 0.2 < 1 - np.mean(shares) < 0.45  # ½, less what lies outside
    assert max(shares) == 1 and min(shares) < 0.4


def test_mix_is_either():
    x = np.zeros((16, *SHAPE), np.uint8)
    x[::2] = 200
    done = np.concatenate([image_of(MIXING["mix"], x, seed) for seed in range(20)])
    pasted = np.isin(done, (0, 200)).all(axis=(1, 2, 3))
    faded = (np.ptp(done, axis=(1, 2, 3)) == 0) & ~pasted
    assert (pasted | faded).all() and 120 < faded.sum() < 200


# What is refused.


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: random_crop(0), "padding=0"),
        (lambda: random_crop(-2), "padding=-2"),
        (lambda: random_affine(), "at least one"),
        (lambda: random_affine(rotate=-5.0), "rotate=-5.0"),
        (lambda: random_affine(zoom=1.0), "zoom=1.0"),
        (lambda: random_affine(shift=float("nan")), "shift=nan"),
        (lambda: cutout(0), "size=0"),
        (lambda: cutout(2, value=float("inf")), "value=inf"),
        (lambda: random_erasing(probability=1.5), "probability=1.5; it must be finite and from 0"),
        (lambda: random_erasing(area=(0.3, 0.1)), "area=(0.3, 0.1)"),
        (lambda: random_erasing(area=(0.1, 1.1)), "areas up to 1"),
        (lambda: random_erasing(ratio=(0.0, 1.0)), "ratio=(0.0, 1.0)"),
        (lambda: color_jitter(-0.1, 0.0, 0.0), "brightness=-0.1; it must be finite and at least 0"),
        (lambda: color_jitter(0.0, float("nan"), 0.0), "contrast=nan"),
        (lambda: color_jitter(0.0, 0.0, 0.0, hue=0.6), "hue=0.6; it must be finite and from 0 to"),
        (lambda: pca_color(std=float("inf")), "std=inf"),
        (lambda: pca_color(vectors=((1.0, 0.0, 0.0),)), "1 rows"),
        (lambda: rand_augment(layers=-1), "layers=-1"),
        (lambda: rand_augment(magnitude=31), "magnitude=31; it must be from 0 to 30"),
        (lambda: random_shadow(probability=-0.1), "probability=-0.1"),
        (lambda: random_shadow(light=(0.8, 0.3)), "light=(0.8, 0.3); give bounds from 0 to 1"),
        (lambda: random_shadow(light=(0.5, 1.5)), "light=(0.5, 1.5)"),
        (lambda: mixup(alpha=-1.0), "alpha=-1.0"),
        (lambda: cutmix(alpha=float("inf")), "alpha=inf"),
        (lambda: mix(cutmix=-1.0), "mix: cutmix=-1.0"),
        (lambda: views(shift=-1), "views: shift=-1"),
    ],
)
def test_refuses_settings(refuses, make, fragment):
    with refuses(fragment):
        make()


def test_views_are_the_image_its_mirror_image_and_both_moved():
    x = images(shape=(5, 6, 3))
    two, six = (np.asarray(apply(views(shift), x)["image"]) for shift in (0, 1))
    np.testing.assert_array_equal(two, np.stack([x, x[:, :, ::-1]], axis=1))
    assert six.shape == (16, 6, 5, 6, 3) and six.dtype == x.dtype
    np.testing.assert_array_equal(six[:, 0], x)
    np.testing.assert_array_equal(six[:, 1, 1:, 1:], x[:, :-1, :-1])
    np.testing.assert_array_equal(six[:, 1, 0, 1:], x[:, 1, :-1])  # a reflection
    np.testing.assert_array_equal(six[:, 2, :-1, :-1], x[:, 1:, 1:])
    np.testing.assert_array_equal(six[:, 3:], six[:, :3, :, ::-1])


@pytest.mark.parametrize(
    ("transform", "x", "fragments"),
    [
        (random_flip(column="picture"), images(), ("random_flip", "the batch has image")),
        (color_jitter(0.1, 0.1, 0.1), images(shape=(4, 4, 1)), ("color_jitter", "has 1 channels")),
        (rand_augment(), images(shape=(4, 4, 4)), ("rand_augment", "4 channels, not 1 or 3")),
        (pca_color(), images(dtype=np.int32), ("pca_color", "holds int32", "floats from 0 to 1")),
        (cutout(2, value=(1.0, 2.0)), images(), ("cutout", "2 numbers", "3 channels")),
        (yuv(), images(shape=(6, 5, 1)), ("yuv", "1 channels, not 3")),
        (random_flip(negate=("angle",)), images(), ("random_flip", "no column 'angle'")),
        (random_flip(alternate=True), images(), ("random_flip", "no column 'row'")),
        (random_flip(negate=("image",)), images(), ("random_flip", "'image' holds uint8")),
        (mixup(column="x"), images(), ("mixup", "no column 'x'")),
        (mixup(label="y"), images(), ("mixup", "no column 'y'")),
        (compose([mixup(), cutmix()]), images(), ("cutmix", "already mixed")),
        (rand_augment(), images(shape=(4,)), ("rand_augment", "(16, 4)", "flattens")),
    ],
)
def test_refuses_batches_that_do_not_fit(refuses, transform, x, fragments):
    with refuses(*fragments):
        apply(transform, x)


if __name__ == "__main__":
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    given_ = {"image": jnp.asarray(images()), "label": jnp.arange(16)}
    program = jax.jit(TOGETHER, out_shardings=spread)
    result = program(jax.device_put(given_, spread), jax.random.key(0))
    print(json.dumps({name: np.asarray(result[name]).tolist() for name in ("image", "share")}))

"""Transforms of images with boxes: what is drawn in a box stays in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.transforms.base import compose
from jaxdl.transforms.basic import standardize
from jaxdl.transforms.geometry import random_affine, random_crop, random_flip, views
from jaxdl.transforms.rand_augment import rand_augment
from jaxdl.transforms.with_boxes import mosaic, random_zoom

HEIGHT, WIDTH, IMAGES, ROOM = 40, 56, 4, 3
KEEP = 0.3
MOVES = {
    "random_flip": random_flip(boxes="boxes"),
    "random_zoom": random_zoom((0.5, 2.0), KEEP),
    "mosaic": mosaic(0.8, KEEP, limit=IMAGES * ROOM),
    "all": compose(
        [mosaic(0.8, KEEP, IMAGES * ROOM), random_flip(boxes="boxes"), random_zoom(keep=KEEP)]
    ),
}
COLUMNS = ("image", "boxes", "labels", "crowd", "extent", "scale")


@st.composite
def batches(draw):
    """Rectangles on black pictures, each in a channel of its own, and its class is the channel."""
    rows = IMAGES * ROOM
    image = np.zeros((IMAGES, HEIGHT, WIDTH, rows), np.uint8)
    boxes = np.zeros((IMAGES, ROOM, 4), np.float32)
    labels = np.full((IMAGES, ROOM), -1, np.int32)
    extent = np.zeros((IMAGES, 2), np.float32)
    for i in range(IMAGES):
        extent[i] = draw(st.integers(25, HEIGHT)), draw(st.integers(30, WIDTH))
        for j in range(draw(st.integers(0, ROOM))):
            w, h = draw(st.integers(6, 20)), draw(st.integers(6, 20))
            x = draw(st.integers(0, int(extent[i, 1]) - w))
            y = draw(st.integers(0, int(extent[i, 0]) - h))
            channel = i * ROOM + j
            image[i, y : y + h, x : x + w, channel] = 240
            boxes[i, j], labels[i, j] = (x, y, x + w, y + h), channel
    crowd, scale = np.zeros(labels.shape, bool), np.full(IMAGES, 0.5, np.float32)
    values = (image, boxes, labels, crowd, extent, scale)
    return {k: jnp.asarray(v) for k, v in zip(COLUMNS, values, strict=True)}


@functools.cache
def compiled(name):
    return jax.jit(MOVES[name])


def move(name, batch, seed):
    done = compiled(name)(batch, jax.random.key(seed))
    return {k: np.asarray(v) for k, v in done.items()}


def around(channel, threshold):
    """The box of what is bright, and how many pixels that are."""
    down, right = np.nonzero(channel > threshold)
    if not len(down):
        return None, 0
    return np.array([right.min(), down.min(), right.max() + 1, down.max() + 1]), len(down)


@pytest.mark.parametrize("name", MOVES)
@settings(deadline=None, max_examples=25)
@given(batch=batches(), seed=st.integers(0, 2**31))
def test_a_box_stays_around_what_it_was_drawn_around(name, batch, seed):
    done = move(name, batch, seed)
    assert done["image"].shape == batch["image"].shape and done["image"].dtype == np.uint8
    for i in range(IMAGES):
        real = done["labels"][i] >= 0
        assert len(set(done["labels"][i][real])) == real.sum()  # of each object one at most
        assert (done["boxes"][i][~real] == 0).all()
        height, width = done["extent"][i]
        found = dict(zip(done["labels"][i][real], done["boxes"][i][real], strict=True))
        for channel in range(IMAGES * ROOM):
            pixels, _ = around(done["image"][i, ..., channel], 120)
            if channel in found:
                # A pixel is bright where the box covers half of it, and the same again where a
                # move follows a move.
                np.testing.assert_allclose(pixels, found[channel], atol=1.6)
                assert (found[channel] >= 0).all()
                assert (found[channel] <= [width, height, width, height]).all()
        outside = np.ones((HEIGHT, WIDTH), bool)
        outside[: round(height), : round(width)] = False
        assert (done["image"][i][outside] == 0).all()


@settings(deadline=None, max_examples=25)
@given(batch=batches(), seed=st.integers(0, 2**31))
def test_what_is_dropped_is_hardly_seen(batch, seed):
    done = move("random_zoom", batch, seed)
    for i in range(IMAGES):
        factor = done["scale"][i] / 0.5
        assert 0.5 <= factor <= 2.0
        for box, label in zip(batch["boxes"][i], batch["labels"][i], strict=True):
            if label < 0 or label in done["labels"][i]:
                continue
            area = float((box[2] - box[0]) * (box[3] - box[1])) * factor**2
            sides, count = around(done["image"][i, ..., label], 160)
            assert count <= KEEP * area or min(sides[2:] - sides[:2]) <= 1


@pytest.mark.parametrize("name", MOVES)
@settings(deadline=None, max_examples=8)
@given(batch=batches(), seed=st.integers(0, 2**31))
def test_room_for_more_objects_changes_nothing(name, batch, seed):
    more = {
        **batch,
        "boxes": jnp.pad(batch["boxes"], ((0, 0), (0, 2), (0, 0))),
        "labels": jnp.pad(batch["labels"], ((0, 0), (0, 2)), constant_values=-1),
        "crowd": jnp.pad(batch["crowd"], ((0, 0), (0, 2))),
    }
    done, other = move(name, batch, seed), move(name, more, seed)
    room = done["labels"].shape[1]
    for column in COLUMNS:
        cut = other[column]
        if column in ("boxes", "labels", "crowd"):
            cut = cut[:, :room]
            assert not (other["labels"][:, room:] >= 0).any()
        np.testing.assert_array_equal(cut, done[column])


def one(boxes, labels, crowd, size=(32, 32), extent=None):
    """A batch of one grey picture."""
    return {
        "image": jnp.full((1, *size, 1), 100.0),
        "boxes": jnp.array([boxes], jnp.float32),
        "labels": jnp.array([labels], jnp.int32),
        "crowd": jnp.array([crowd]),
        "extent": jnp.array([extent or size], jnp.float32),
        "scale": jnp.ones(1),
    }


def test_a_flip_leaves_the_picture_where_it_is():
    batch = one([(2, 3, 10, 9), (0, 0, 0, 0)], [1, -1], [False, False], extent=(20, 24))
    batch["image"] = batch["image"].at[:, :, 24:].set(0.0).at[:, 3:9, 2:10].set(200.0)
    seen = set()
    for seed in range(8):
        done = MOVES["random_flip"](batch, jax.random.key(seed))
        turned = bool((done["boxes"] != batch["boxes"]).any())
        seen.add(turned)
        corners = [[14, 3, 22, 9], [0, 0, 0, 0]] if turned else batch["boxes"][0]
        np.testing.assert_array_equal(done["boxes"][0], corners)
        image = batch["image"][:, :, :24]
        image = image[:, :, ::-1] if turned else image
        np.testing.assert_array_equal(done["image"][:, :, :24], image)
        assert (done["image"][:, :, 24:] == 0).all()
    assert seen == {True, False}


def test_without_boxes_a_flip_is_of_the_whole():
    batch = one([(2, 3, 10, 9)], [1], [False], extent=(20, 24))
    batch["image"] = jnp.arange(32.0)[None, None, :, None] * jnp.ones((1, 32, 1, 1))
    plain = {"image": batch["image"]}
    for seed in range(4):
        done = random_flip()(plain, jax.random.key(seed))["image"]
        also = random_flip(boxes="boxes")(batch, jax.random.key(seed))["image"]
        assert (done[0, 0, 0, 0] == 31) == (also[0, 0, 0, 0] == 23)  # the same are mirrored


@pytest.mark.parametrize(
    "transform", [random_flip(), random_crop(2), random_affine(rotate=9), views(), rand_augment()]
)
def test_what_would_leave_boxes_where_they_are_is_refused(refuses, transform):
    with refuses(
        "would move the image but not its boxes", "random_flip(boxes='boxes'), random_zoom"
    ):
        transform(one([(2, 3, 10, 9)], [1], [False]), jax.random.key(0))


def test_a_mosaic_of_single_objects_needs_room_for_four(refuses):
    with refuses("room for one object per image", "set limit=4"):
        mosaic()(one([(2, 3, 10, 9)], [1], [False]), jax.random.key(0))


def test_zoom_by_one_changes_nothing():
    batch = one([(2, 3, 10, 9)], [1], [False])
    done = random_zoom((1.0, 1.0))(batch, jax.random.key(0))
    for name, column in batch.items():
        np.testing.assert_allclose(done[name], column, atol=1e-4)


def test_of_a_crowd_what_is_left_stays():
    """Twice as large, a picture loses three quarters of itself."""
    box = (0, 0, 32, 32)
    batch = one([box, box], [0, 0], [True, False])
    done = random_zoom((2.0, 2.0), keep=0.3)(batch, jax.random.key(0))
    np.testing.assert_array_equal(done["labels"], [[0, -1]])
    np.testing.assert_array_equal(done["crowd"], [[True, False]])
    np.testing.assert_array_equal(done["boxes"], [[box, (0, 0, 0, 0)]])
    assert done["scale"] == 2.0


def test_a_sliver_is_dropped():
    """However much of it is seen: it is less than a pixel wide."""
    batch = one([(4, 4, 5, 24)], [0], [True])
    done = random_zoom((0.5, 0.5), keep=0.0)(batch, jax.random.key(0))
    np.testing.assert_array_equal(done["labels"], [[-1]])
    np.testing.assert_array_equal(done["crowd"], [[False]])


def test_zoom_keeps_the_light():
    """Shrinking smooths: thin stripes become grey, which they would not, were pixels left out."""
    batch = one([(0, 0, 32, 32)], [0], [False])
    stripes = jnp.where(jnp.arange(32) % 2 == 0, 200.0, 0.0)
    batch["image"] = jnp.broadcast_to(stripes[None, None, :, None], (1, 32, 32, 1))
    done = random_zoom((0.5, 0.5))(batch, jax.random.key(1))
    x1, y1, x2, y2 = np.round(np.asarray(done["boxes"][0, 0])).astype(int)
    inner = np.asarray(done["image"])[0, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2, 0]
    assert 75 < inner.mean() < 125 and inner.std() < 30


def test_a_mosaic_is_of_the_next_three():
    batch = {
        "image": jnp.broadcast_to(jnp.arange(5.0)[:, None, None, None], (5, 24, 24, 1)),
        "boxes": jnp.broadcast_to(jnp.array([0.0, 0, 24, 24]), (5, 1, 4)),
        "labels": jnp.arange(5)[:, None],
        "crowd": jnp.zeros((5, 1), bool),
        "extent": jnp.full((5, 2), 24.0),
        "scale": jnp.ones(5),
    }
    done = jax.jit(mosaic(keep=0.0, limit=6))(batch, jax.random.key(0))
    for i in range(5):
        expected = [(i + k) % 5 for k in range(4)]
        np.testing.assert_array_equal(done["labels"][i], [*expected, -1, -1])
        corners = np.asarray(done["image"][i, ..., 0])[[0, 0, -1, -1], [0, -1, 0, -1]]
        np.testing.assert_allclose(corners, expected, atol=1e-5)
        # Between them the boxes cover the canvas.
        sides = np.asarray(done["boxes"][i, :4, 2:] - done["boxes"][i, :4, :2])
        assert sides.prod(1).sum() == 24 * 24
    few = jax.jit(mosaic(keep=0.0, limit=1))(batch, jax.random.key(0))
    np.testing.assert_array_equal(few["labels"], jnp.arange(5)[:, None])  # no room for others


def test_a_mosaic_of_probability_0_only_packs():
    batch = one([(0, 0, 0, 0), (2, 3, 10, 9)], [-1, 4], [False, True])
    done = mosaic(0.0, limit=3)(batch, jax.random.key(0))
    np.testing.assert_array_equal(done["labels"], [[4, -1, -1]])
    np.testing.assert_array_equal(done["crowd"], [[True, False, False]])
    np.testing.assert_array_equal(done["boxes"][0, 0], [2, 3, 10, 9])
    for name in ("image", "extent", "scale"):
        np.testing.assert_array_equal(done[name], batch[name])


def test_images_may_be_standardized_first():
    batch = one([(2, 3, 10, 9)], [1], [False])
    done = compose([standardize(128.0, 64.0), MOVES["all"]])(batch, jax.random.key(0))
    assert done["image"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: random_zoom((0.0, 1.0)), "zoom=(0.0, 1.0)"),
        (lambda: random_zoom((2.0, 1.0)), "zoom=(2.0, 1.0)"),
        (lambda: random_zoom((1.0, float("inf"))), "zoom"),
        (lambda: random_zoom(keep=1.5), "keep=1.5"),
        (lambda: mosaic(probability=-0.1), "probability=-0.1"),
        (lambda: mosaic(keep=float("nan")), "keep=nan"),
        (lambda: mosaic(limit=0), "limit=0"),
    ],
)
def test_refuses_settings(refuses, make, fragment):
    with refuses(fragment):
        make()


@pytest.mark.parametrize("transform", [random_flip(boxes="boxes"), random_zoom(), mosaic()])
def test_refuses_a_batch_without_boxes(refuses, transform):
    with refuses("no column", "the batch has image"):
        transform({"image": jnp.zeros((2, 8, 8, 3))}, jax.random.key(0))

"""Region-of-interest align: against a plain implementation, one number at a time."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from published_regions_aligned import ANSWERS, BOXES, FINEST, pyramid

from jaxdl.kernels import roi_align
from jaxdl.kernels.roi_align import level_of


def bilinear(features, y, x):
    """The number at a point between places, as torchvision's C++ reads it."""
    rows, columns = features.shape[:2]
    if y < -1 or y > rows or x < -1 or x > columns:
        return np.zeros(features.shape[2])
    y, x = max(y, 0), max(x, 0)
    top, left = min(int(y), rows - 1), min(int(x), columns - 1)
    bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    down, across = (y - top if top < rows - 1 else 0), (x - left if left < columns - 1 else 0)
    return (
        features[top, left] * (1 - down) * (1 - across)
        + features[top, right] * (1 - down) * across
        + features[bottom, left] * down * (1 - across)
        + features[bottom, right] * down * across
    )


def plain(features, box, stride, size):
    """One box on one level, by loops."""
    x, y, right, bottom = np.asarray(box, np.float64) / stride
    width, height = max(right - x, 1) / size, max(bottom - y, 1) / size
    return np.array(
        [
            [
                np.mean(
                    [
                        bilinear(features, y + (i + a) * height, x + (j + b) * width)
                        for a in (0.25, 0.75)
                        for b in (0.25, 0.75)
                    ],
                    axis=0,
                )
                for j in range(size)
            ]
            for i in range(size)
        ]
    )


@pytest.fixture(scope="module")
def aligned():
    return jax.jit(lambda p, b: roi_align(p, b, FINEST, 7))(pyramid(), BOXES)


def test_every_number_is_that_of_loops(aligned):
    for box, found in zip(BOXES, aligned, strict=True):
        area = float((box[2] - box[0]) * (box[3] - box[1]))
        level = math.floor(4 + math.log2(math.sqrt(area) / 224) + 1e-6) if area else 2
        level = min(max(level, 2), 4) - 2
        expected = plain(pyramid()[level], box, FINEST << level, 7)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_every_number_is_torchvisions(aligned):
    np.testing.assert_allclose(
        np.asarray(aligned).reshape(-1)[::11], json.loads(ANSWERS.read_text()), rtol=0, atol=1e-5
    )


def test_levels_are_of_the_size_of_a_box():
    sides = jnp.array([1.0, 111.9, 112, 223.9, 224, 447.9, 448, 5000])
    boxes = jnp.stack([0 * sides, 0 * sides, sides, sides], -1)
    of = jax.jit(level_of, static_argnums=(1, 2))
    assert of(boxes, 4, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert of(boxes, 2, 4).tolist() == [0, 1, 2, 2, 3, 3, 3, 3]
    assert not np.any(of(0 * boxes, 4, 4))


@pytest.mark.slow
def test_the_gradient_goes_to_the_features_of_a_box_alone():
    boxes = jnp.array([[8.0, 8, 24, 20]])
    features = pyramid()

    def total(features, boxes):
        return jnp.sum(roi_align(features, boxes, FINEST, 2))

    slopes, of_boxes = jax.jit(jax.grad(total, (0, 1)))(features, boxes)
    assert not np.any(of_boxes) and not np.any(slopes[1]) and not np.any(slopes[2])
    touched = np.argwhere(np.any(slopes[0] != 0, axis=-1))
    assert touched.min(0).tolist() == [2, 2] and touched.max(0).tolist() == [5, 6]
    np.testing.assert_allclose(np.sum(slopes[0][..., 0]), 4, rtol=1e-6)  # bins


def test_bfloat16_stays_so_and_coordinates_stay_exact():
    features = tuple(jnp.bfloat16(f) for f in pyramid())
    shape = jax.eval_shape(lambda f: roi_align(f, jnp.asarray(BOXES), FINEST), features)
    assert shape.dtype == jnp.bfloat16 and shape.shape == (len(BOXES), 7, 7, 3)
    ramp = (jnp.broadcast_to(jnp.arange(64.0)[:, None, None], (64, 64, 1)),)
    found = jax.jit(lambda f, b: roi_align(f, b, 4))(ramp, jnp.array([[0, 201, 50, 229.0]]))
    np.testing.assert_allclose(found[0, :, 0, 0], (201 + 4 * (np.arange(7) + 0.5)) / 4, rtol=1e-5)

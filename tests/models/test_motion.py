"""The motion of blocks, against images that were moved, and a search by hand."""

import jax
import numpy as np
import pytest

from jaxdl.models import motion

SHAPE = (2, 66, 100)


@jax.jit
def block_motion(before, after):
    return motion.block_motion(before, after)


def noise(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def moved(before, down, right):
    """What is in the images, so many pixels further on; behind it comes what is at the edge."""
    rows = np.clip(np.arange(before.shape[1]) - down, 0, before.shape[1] - 1)
    columns = np.clip(np.arange(before.shape[2]) - right, 0, before.shape[2] - 1)
    return before[:, rows][:, :, columns]


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -8), (-4, 8), (1, 5)])
def test_finds_by_how_much_an_image_was_moved(down, right):
    before = noise()
    found = block_motion(before, moved(before, down, right))
    assert found.shape == (2, 6, 13, 2)
    np.testing.assert_allclose(found, np.broadcast_to([down, right], found.shape), atol=0.02)


def test_each_block_moves_by_itself_and_each_image_too():
    before = noise()
    after = before.copy()
    after[0, :, :50] = moved(before, 2, 0)[0, :, :50]
    after[0, :, 50:] = moved(before, 0, -3)[0, :, 50:]
    found = np.asarray(block_motion(before, after))
    # Blocks begin every 7 columns and are 16 wide: the first 5 end, and the last 5 begin, in time.
    np.testing.assert_allclose(found[0, :, :5], np.broadcast_to([2, 0], (6, 5, 2)), atol=0.02)
    np.testing.assert_allclose(found[0, :, 8:], np.broadcast_to([0, -3], (6, 5, 2)), atol=0.02)
    np.testing.assert_allclose(found[1], 0, atol=0.02)


def test_half_a_pixel_lies_between():
    wave = np.sin(np.arange(100) / 4)[None, None] * np.cos(np.arange(66) / 3)[None, :, None]
    half = np.sin((np.arange(100) - 0.5) / 4)[None, None] * np.cos(np.arange(66) / 3)[None, :, None]
    found = np.asarray(block_motion(np.float32(wave), np.float32(half)))
    assert (found[..., 1] > 0.2).all() and (found[..., 1] < 0.8).all()


def test_against_a_search_by_hand():
    before, after = noise((1, 20, 24), 1), noise((1, 20, 24), 2)
    padded = np.pad(before, ((0, 0), (4, 4), (8, 8)), mode="edge")
    places = [(down, right) for down in range(-4, 5) for right in range(-8, 9)]
    for column in range(2):
        block = np.s_[0:16, 7 * column : 7 * column + 16]
        costs = []
        for down, right in places:
            there = padded[0, 4 - down : 24 - down, 8 - right : 32 - right]
            costs.append(np.mean((after[0][block] - there[block]) ** 2, dtype=np.float64))
        scale = 0.1 * min(costs) + (1 / 128) ** 2
        weights = np.exp(-(np.array(costs) - min(costs)) / scale)
        expected = weights @ np.array(places) / weights.sum()
        np.testing.assert_allclose(block_motion(before, after)[0, 0, column], expected, atol=1e-3)

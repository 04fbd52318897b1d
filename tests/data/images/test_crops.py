"""What is seen of an image: drawn as torchvision draws it, and where the ten views are."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data import Crop
from jaxdl.data.images.crops import draws

SIDES = st.integers(1, 3000)


def reference(height, width, area, ratio, rng):
    """RandomResizedCrop.get_params of torchvision 0.28, in NumPy: top, left, height, width."""
    for _ in range(10):
        target = height * width * rng.uniform(*area)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w = round(math.sqrt(target * aspect))
        h = round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            return rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w
    whole = width / height
    if whole < min(ratio):
        w, h = width, round(width / min(ratio))
    elif whole > max(ratio):
        w, h = round(height * max(ratio)), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


def uniforms(count, seed=0):
    return draws(np.arange(count), np.zeros(count, int), seed)


@pytest.mark.parametrize("size", [(375, 500), (256, 256), (100, 900)])
@pytest.mark.parametrize("area", [(0.08, 1.0), (0.35, 1.0)])
def test_crops_are_distributed_as_torchvisions(size, area):
    crop, count = Crop(224, area=area), 4000
    ours = np.array([crop.random_box(*size, u) for u in uniforms(count)], float)
    rng = np.random.default_rng(1)
    theirs = np.array([reference(*size, area, crop.ratio, rng) for _ in range(count)], float)
    for boxes in (ours, theirs):  # area, ratio, and the middle
        boxes[:, 0] += boxes[:, 2] / 2
        boxes[:, 1] += boxes[:, 3] / 2
        boxes[:, 2:] = np.stack([boxes[:, 2] * boxes[:, 3], boxes[:, 3] / boxes[:, 2]], 1)
    for mine, other in zip(ours.T, theirs.T, strict=True):
        at = np.sort(np.concatenate([mine, other]))
        cdf = [np.searchsorted(np.sort(x), at, side="right") / count for x in (mine, other)]
        # Kolmogorov and Smirnov: further apart by chance once in 10,000.
        assert np.abs(cdf[0] - cdf[1]).max() < 2.22 * math.sqrt(2 / count)


@given(SIDES, SIDES, st.integers(0, 10**6), st.booleans())
def test_crops_lie_in_the_image(height, width, row, resized):
    crop = Crop(224, area=None if resized else (0.08, 1.0))
    (uniform,) = draws(np.array([row]), np.array([3]), 7)
    top, left, h, w = crop.random_box(height, width, uniform)
    assert top >= 0 and left >= 0 and h >= 1 and w >= 1
    assert top + h <= height and left + w <= width


def test_where_no_rectangle_fits_the_middle_is_taken():
    crop = Crop(224)
    uniform = uniforms(1)[0]
    assert crop.random_box(100, 10_000, uniform) == (0, (10_000 - 133) // 2, 100, 133)
    assert crop.random_box(10_000, 99, uniform) == ((10_000 - 132) // 2, 0, 132, 99)
    assert crop.random_box(1, 1, uniform) == (0, 0, 1, 1)


def test_without_an_area_a_square_of_the_resized_image_is_taken():
    boxes = np.array([Crop(224, area=None).random_box(512, 1024, u) for u in uniforms(500)])
    assert (boxes[:, 2:] == 448).all()  # 224 of 256, in an image twice as large
    assert set(boxes[:, 0]) <= set(range(65)) and len(set(boxes[:, 0])) > 50
    assert boxes[:, 1].min() < 20 and boxes[:, 1].max() > 556


def test_a_draw_depends_on_seed_row_and_epoch_alone():
    rows, epochs = np.array([5, 0, 5, 1_281_166, 5]), np.array([0, 0, 1, 89, 0])
    drawn = draws(rows, epochs, 3)
    for i in range(5):
        np.testing.assert_array_equal(draws(rows[i:][:1], epochs[i:][:1], 3)[0], drawn[i])
    assert len({tuple(u) for u in drawn}) == 4  # the last is the first
    assert (drawn[0] != draws(rows, epochs, 4)[0]).all()


def test_golden_values():
    """Pinned: what NumPy, or we, change here would break the resume of every run there is."""
    (uniform,) = draws(np.array([12_345]), np.array([6]), 7)
    words = np.random.Philox(
        key=np.array([7, 6], np.uint64), counter=np.array([0, 12_345, 0, 1], np.uint64)
    ).random_raw(22)
    np.testing.assert_array_equal(uniform, (words >> np.uint64(11)) / 2**53)
    assert Crop(224).random_box(375, 500, uniform) == (1, 43, 364, 361)
    assert uniform.min() >= 0 and uniform.max() < 1


@pytest.mark.parametrize(("size", "scaled"), [((375, 500), (256, 341)), ((10, 5), (512, 256)),
                                              ((300, 300), (256, 256))])  # fmt: skip
def test_evaluation_scales_the_shorter_side(size, scaled):
    assert Crop(224).scaled(*size) == scaled
    assert Crop(112, resize=128).scaled(*size) == tuple(x // 2 for x in scaled)


def test_the_ten_views():
    """A number for each place, so that each view tells where it was taken."""
    places = np.arange(256 * 340).reshape(256, 340)
    image = np.stack([places % 256, places // 256 % 256, places // 65536], -1).astype(np.uint8)
    views = Crop(224, views=10).seen(image).astype(int) @ [1, 256, 65536]
    corners = [(0, 0), (0, 116), (32, 0), (32, 116), (16, 58)]
    for view, mirrored, (top, left) in zip(views[:5], views[5:], corners, strict=True):
        np.testing.assert_array_equal(view, places[top : top + 224, left : left + 224])
        np.testing.assert_array_equal(mirrored, view[:, ::-1])
    np.testing.assert_array_equal(Crop(224).seen(image).astype(int)[0] @ [1, 256, 65536], views[4])


@pytest.mark.parametrize(
    ("settings", "fragments"),
    [
        (dict(size=0), ["size=0"]),
        (dict(size=-3), ["size=-3"]),
        (dict(size=224, resize=200), ["resize=200", "size=224"]),
        (dict(size=224, area=(0.0, 1.0)), ["area=(0.0, 1.0)"]),
        (dict(size=224, area=(0.5, 0.2)), ["area=(0.5, 0.2)"]),
        (dict(size=224, area=(0.5, 1.5)), ["area=(0.5, 1.5)"]),
        (dict(size=224, area=(math.nan, 1.0)), ["area"]),
        (dict(size=224, ratio=(0.0, 1.0)), ["ratio=(0.0, 1.0)"]),
        (dict(size=224, ratio=(2.0, 1.0)), ["ratio=(2.0, 1.0)"]),
        (dict(size=224, ratio=(1.0, math.inf)), ["ratio"]),
        (dict(size=224, views=5), ["views=5", "10"]),
    ],
)
def test_refuses(refuses, settings, fragments):
    with refuses(*fragments):
        Crop(**settings)

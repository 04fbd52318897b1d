"""ImageNet's localisation error against a loop."""

import jax.numpy as jnp
import numpy as np

from jaxdl.tasks.localization import localization_error


def iou(a, b):
    """Of two boxes of whole numbers, by counting the unit squares they cover."""
    covered = np.zeros((2, 12, 12), bool)
    for plane, (left, top, right, bottom) in zip(covered, (a, b), strict=True):
        plane[left:right, top:bottom] = True
    union = (covered[0] | covered[1]).sum()
    return (covered[0] & covered[1]).sum() / union if union else 0.0


def drawn(rng, *shape):
    """Boxes from 0 to 11, some of them empty."""
    return np.concatenate(np.sort(rng.integers(0, 12, (2, *shape, 2)), axis=0), axis=-1)


def test_an_image_is_right_if_any_guess_has_class_and_box():
    rng = np.random.default_rng(1)
    truth, mask = drawn(rng, 300, 3), rng.random((300, 3)) < 0.7
    near = truth[:, :1] + rng.integers(-1, 2, (300, 5, 4))
    boxes = np.clip(np.where(rng.random((300, 5, 1)) < 0.3, near, drawn(rng, 300, 5)), 0, 11)
    guesses, label = rng.integers(0, 3, (300, 5)), rng.integers(0, 3, 300)
    expected = np.ones(300)
    for i, j, k in np.ndindex(300, 5, 3):
        if guesses[i, j] == label[i] and mask[i, k] and iou(boxes[i, j], truth[i, k]) > 0.5:
            expected[i] = 0
    boxes, truth = (jnp.asarray(x, jnp.float32) for x in (boxes, truth))
    guesses, label, mask = map(jnp.asarray, (guesses, label, mask))
    done = localization_error(guesses, boxes, label, truth, mask)
    np.testing.assert_array_equal(done, expected)
    assert 20 < (expected == 0).sum() < 280


def test_half_an_overlap_is_too_little():
    boxes, truth = jnp.array([[[0.0, 0, 2, 1]], [[0.0, 0, 1.9, 1]]]), jnp.array([[[0.0, 0, 1, 1]]])
    both = jnp.concatenate([truth, truth])
    guesses, label, mask = jnp.zeros((2, 1), int), jnp.zeros(2, int), jnp.ones((2, 1), bool)
    assert localization_error(guesses, boxes, label, both, mask).tolist() == [1, 0]

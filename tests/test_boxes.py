"""Measures of boxes, codes relative to anchors, and non-maximum suppression against loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxdl.boxes import (
    area,
    box_iou,
    centre,
    centred_in,
    clip,
    decode_distances,
    decode_offsets,
    encode_distances,
    encode_offsets,
    from_fixed,
    giou,
    match,
    nms,
    paired_iou,
    sample,
    to_fixed,
)

SIDE, BOXES, LIMIT = 12, 24, 10
SAMPLE = jax.jit(functools.partial(sample, count=16, share=0.25))


def drawn(rng, *shape, side=SIDE):
    """Boxes of whole numbers below `side`, some of them empty."""
    return np.concatenate(np.sort(rng.integers(0, side, (2, *shape, 2)), axis=0), axis=-1)


def squares(box):
    """The unit squares that a box of whole numbers covers."""
    covered = np.zeros((SIDE, SIDE), bool)
    left, top, right, bottom = box
    covered[left:right, top:bottom] = True
    return covered


def iou(a, b):
    union = (squares(a) | squares(b)).sum()
    return (squares(a) & squares(b)).sum() / union if union else 0.0


def generalized(a, b):
    hull = squares([*np.minimum(a[:2], b[:2]), *np.maximum(a[2:], b[2:])]).sum()
    outside = (hull - (squares(a) | squares(b)).sum()) / hull if hull else 0.0
    return iou(a, b) - outside


def floats(*arrays):
    return [jnp.asarray(x, jnp.float32) for x in arrays]


# ---- Measures


def test_measures_count_squares():
    rng = np.random.default_rng(0)
    boxes, others = drawn(rng, 40), drawn(rng, 40)
    ours, theirs = floats(boxes, others)
    np.testing.assert_array_equal(area(ours), [squares(b).sum() for b in boxes])
    expected = np.array([[iou(a, b) for b in others] for a in boxes])
    np.testing.assert_allclose(box_iou(ours, theirs), expected, rtol=1e-6)
    assert (expected > 0.5).any() and (expected == 0).any()
    np.testing.assert_allclose(paired_iou(ours, theirs), np.diag(expected), rtol=1e-6)
    expected = [generalized(a, b) for a, b in zip(boxes, others, strict=True)]
    np.testing.assert_allclose(giou(ours, theirs), expected, rtol=1e-5, atol=1e-6)
    assert min(expected) < -0.5 and max(expected) > 0.2


def test_a_box_turned_round_is_empty():
    assert area(jnp.array([3.0, 3, 1, 1])) == 0
    assert area(jnp.array([3.0, 1, 1, 3])) == 0


def test_batches_of_boxes():
    rng = np.random.default_rng(1)
    boxes, others = floats(drawn(rng, 2, 5), drawn(rng, 2, 3))
    np.testing.assert_array_equal(box_iou(boxes, others)[1], box_iou(boxes[1], others[1]))
    assert box_iou(boxes[:, :0], others).shape == (2, 0, 3)
    np.testing.assert_array_equal(paired_iou(boxes[0, 0], boxes[0]), box_iou(boxes, boxes)[0, 0])


def test_a_detector_learns_from_boxes_apart_and_from_empty_ones():
    truth = jnp.array([[5.0, 5, 7, 7]])
    slope = jax.grad(lambda box: giou(box, truth).sum())
    assert (slope(jnp.array([[0.0, 0, 2, 2]]))[0, 2:] > 0).all()  # towards it
    for box in ([6, 6, 6, 6], [5, 6, 7, 6], [0, 0, 0, 0], [5, 5, 7, 7]):
        assert jnp.isfinite(slope(jnp.array([box], float))).all()
    nothing = jnp.zeros((1, 4))
    for measure in (giou, paired_iou):
        assert measure(nothing, nothing) == 0
        assert jnp.isfinite(jax.grad(lambda b, m=measure: m(b, nothing).sum())(nothing)).all()


def test_clip():
    boxes = jnp.array([[[-2.0, 3, 9, 8], [20, 20, 30, 30]]] * 2)
    done = clip(boxes, jnp.array([[5, 7], [25, 50]]))  # heights and widths
    np.testing.assert_array_equal(done[0], [[0, 3, 7, 5], [7, 5, 7, 5]])
    np.testing.assert_array_equal(done[1], [[0, 3, 9, 8], [20, 20, 30, 25]])
    np.testing.assert_array_equal(clip(boxes[0], jnp.array([5.0, 7])), done[0])


# ---- Codes


def test_codes_by_hand():
    anchor, box = jnp.array([10.0, 20, 30, 24]), jnp.array([5.0, 21, 35, 29])
    np.testing.assert_array_equal(centre(anchor), [20, 22])
    np.testing.assert_allclose(encode_distances(box, anchor), [15 / 20, 1 / 4, 15 / 20, 7 / 4])
    expected = [0, 3 / 4, np.log(30 / 20), np.log(8 / 4)]
    np.testing.assert_allclose(encode_offsets(box, anchor), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("encode", "decode"), [(encode_distances, decode_distances), (encode_offsets, decode_offsets)]
)
def test_codes_and_boxes_are_one_to_one(encode, decode):
    rng = np.random.default_rng(2)
    least = rng.uniform(-50, 50, (2, 3, 40, 2))
    boxes, anchors = floats(*np.concatenate([least, least + rng.uniform(2, 60, least.shape)], -1))
    code = encode(boxes, anchors)
    np.testing.assert_allclose(decode(code, anchors), boxes, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(encode(decode(code, anchors), anchors), code, rtol=1e-4, atol=1e-5)


def test_no_offset_makes_a_box_infinite():
    box = decode_offsets(jnp.array([0.0, 0, 1000, 3]), jnp.array([0.0, 0, 16, 16]))
    np.testing.assert_allclose(box[2] - box[0], 1000, rtol=1e-5)
    np.testing.assert_allclose(box[3] - box[1], 16 * np.exp(3), rtol=1e-5)


# ---- Non-maximum suppression


def reference(boxes, scores, threshold, limit, labels):
    """Indices of what is kept, best first."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):  # a stable sort
        better = (k for k in kept if labels is None or labels[k] == labels[i])
        if scores[i] > -np.inf and all(shared(boxes[k], boxes[i]) <= threshold for k in better):
            kept.append(i)
    return kept[:limit]


def shared(a, b):
    """Intersection over union in float32, whose roundings decide ties with the threshold."""
    wide = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    high = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return np.float32(wide * high) / np.float32(union) if union else 0.0


suppress = jax.jit(nms, static_argnums=3)


def check(boxes, scores, threshold, limit, labels):
    index, valid = map(np.asarray, suppress(*floats(boxes, scores, threshold), limit, labels))
    expected = reference(boxes, scores, np.float32(threshold), limit, labels)
    np.testing.assert_array_equal(index[valid], expected)
    assert valid.tolist() == [True] * len(expected) + [False] * (limit - len(expected))
    assert (index[~valid] == 0).all()


@settings(max_examples=150, deadline=None)
@given(
    boxes=hnp.arrays(np.int64, (2, BOXES, 2), elements=st.integers(0, SIDE)),
    # So few that many are equal, and some are of nothing.
    scores=hnp.arrays(np.float64, BOXES, elements=st.sampled_from([-np.inf, 0, 0.25, 0.5, 1])),
    threshold=st.sampled_from([0, 0.25, 1 / 3, 0.5, 0.7, 1]),
    labels=st.none() | hnp.arrays(np.int32, BOXES, elements=st.integers(-1, 2)),
)
def test_nms_keeps_what_a_loop_keeps(boxes, scores, threshold, labels):
    boxes = np.concatenate(np.sort(boxes, axis=0), -1)
    check(boxes, scores, threshold, LIMIT, labels)
    check(boxes, scores, threshold, BOXES + 3, labels)


def test_nms_of_many_boxes():
    rng = np.random.default_rng(3)
    boxes = drawn(rng, 3000, side=100)
    scores, labels = rng.random(3000).astype(np.float32), rng.integers(0, 4, 3000)
    check(boxes, scores, 0.5, 100, labels)
    check(boxes[:500], scores[:500], 0.3, 500, None)


def test_nms_of_a_batch_is_that_of_each():
    rng = np.random.default_rng(4)
    boxes, scores = floats(drawn(rng, 5, 60), rng.random((5, 60)))
    scores = scores.at[2].set(-jnp.inf)
    labels = jnp.asarray(rng.integers(0, 3, (5, 60)))
    kept = functools.partial(nms, iou_threshold=0.4, limit=20)
    index, valid = jax.vmap(lambda b, s, c: kept(b, s, labels=c))(boxes, scores, labels)
    for i in range(5):
        one = kept(boxes[i], scores[i], labels=labels[i])
        np.testing.assert_array_equal(index[i], one[0])
        np.testing.assert_array_equal(valid[i], one[1])
    assert not valid[2].any() and valid[0].sum() > 3


def test_boxes_alike_leave_the_first():
    boxes = jnp.array([[1.0, 1, 5, 5]] * 4 + [[2.0, 2, 2, 2]] * 2)
    index, valid = nms(boxes, jnp.array([0.1, 0.7, 0.7, 0.2, 0.9, 0.9]), 0.5, 6)
    assert index[valid].tolist() == [4, 5, 1]  # empty boxes overlap nothing, themselves neither


@pytest.mark.parametrize(
    ("positives", "negatives", "taken"),
    [(9, 20, (4, 12)), (2, 20, (2, 14)), (9, 3, (4, 3)), (0, 20, (0, 16)), (9, 0, (4, 0))],
)
def test_a_sample_has_as_many_positive_boxes_as_its_share(positives, negatives, taken):
    others = 30 - positives - negatives
    kind = np.random.RandomState(0).permutation([1] * positives + [2] * negatives + [0] * others)
    chance = jax.random.uniform(jax.random.key(1), kind.shape)
    index, real = map(np.asarray, SAMPLE(chance, jnp.asarray(kind == 1), jnp.asarray(kind == 2)))
    assert len(index) == 16 and len({*index[real].tolist()}) == sum(taken)
    found, chance = kind[index[real]], np.asarray(chance)
    assert found.tolist() == [1] * taken[0] + [2] * taken[1]
    for which, count in zip((1, 2), taken, strict=True):  # those of the highest chance
        best = np.sort(chance[kind == which])[::-1][:count]
        np.testing.assert_array_equal(chance[index[real]][found == which], best)


def test_what_an_anchor_is_to_find():
    objects = jnp.array([[0.0, 0, 10, 10], [40, 40, 60, 60], [0, 0, 10, 9]])
    real = jnp.array([True, True, False])
    anchors = jnp.array([[0.0, 0, 10, 9], [0, 0, 10, 5], [0, 0, 10, 3], [52, 40, 60, 60]])
    find = jax.jit(match, static_argnums=(3, 4, 5))
    found, positive, ignored = find(anchors, objects, real, 0.7, 0.4)
    assert found.tolist() == [0, 0, 0, 1]  # with .9, .5, .3 and .4 in common
    assert positive.tolist() == [True, False, False, False]
    assert ignored.tolist() == [False, True, False, True]
    _, rescued, ignored = find(anchors, objects, real, 0.7, 0.4, True)
    assert rescued.tolist() == [True, False, False, True] and ignored.tolist()[3] is False
    assert not np.any(find(anchors, objects, real, 0.7).ignored)
    assert not np.any(find(anchors, objects, np.zeros(3, bool), 0.7, 0.4, True).positive)
    inside = np.asarray(jax.jit(centred_in)(anchors, objects))
    assert inside[:, 0].tolist() == [True, True, True, False] and not inside[3, 2]


def test_fixed_point_survives_bfloat16():
    x = jnp.array([0.25, 1001.0, 1343.75])
    assert to_fixed(x).dtype == jnp.int32 and from_fixed(to_fixed(x)).tolist() == x.tolist()

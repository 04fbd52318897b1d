"""Faster R-CNN: torchvision's numbers with the same weights, and proposals."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import made
from published_regions import (
    ANSWERS,
    CLASSES,
    EXTENTS,
    PROPOSALS,
    network,
    pictures,
    summary,
    weights,
)

from jaxdl import boxes as box
from jaxdl.boxes import Level
from jaxdl.checkpointing.weight_names import flat, from_torch, renamed, to_torch
from jaxdl.errors import UserError
from jaxdl.models import FasterRCNN, eval_mode, functional
from jaxdl.models.faster_rcnn import Truth, choose_proposals, propose
from jaxdl.tasks import FasterRCNN as Task

SMALL = dict(
    classes=2,
    depth=18,
    width=8,
    levels=(2, 2),
    channels=8,
    hidden=8,
    samples=8,
    candidates=(9, 9),
    proposals=(6, 4),
)
EXTENT = box.to_fixed(jnp.array([[64.0, 64], [40, 64]]))
TRUTH = Truth(
    box.to_fixed(jnp.array([[[3.0, 5, 40, 35], [0, 0, 0, 0]]] * 2)),
    jnp.array([[True, False]] * 2),
    jnp.zeros((2, 2), bool),
)


@pytest.fixture(scope="module")
def published():
    """Both stages with NumPy's weights, and torchvision's."""
    model = functional(FasterRCNN(CLASSES, depth=18, proposals=(2000, PROPOSALS)))
    x, extent = pictures(), box.to_fixed(jnp.float32(EXTENTS))
    empty = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(model.init, jax.random.key(0), (x, extent)),
    )
    tensors = weights({name: t.shape for name, t in to_torch(*empty).items()})
    apply = jax.jit(functools.partial(model.apply, key=None, train=False))
    regions, _ = apply(*from_torch(tensors, *empty), (x, extent))
    return regions, json.loads(ANSWERS.read_text())


@pytest.mark.slow
def test_published_size():
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    init = functional(FasterRCNN(90)).init
    extent = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    params = flat(jax.eval_shape(init, jax.random.key(0), (x, extent))[0], {})
    norms = sum(x.size for path, x in params.items() if "/body/" in path and x.ndim == 1)
    assert sum(x.size for x in params.values()) - norms == 41_755_286 and norms == 53_120


def test_torchvisions_stages(published):
    regions, expected = published
    last = regions.levels[-1]
    parts = {
        "first_logits": last.logits,
        "first_deltas": last.deltas,
        "proposals": regions.proposals,
        "second_logits": regions.logits,
        "second_deltas": regions.deltas,
    }
    assert np.all(regions.real)
    for name, part in parts.items():
        found = summary(np.asarray(part))
        tolerance = 1e-3 if name == "proposals" else 1e-4
        np.testing.assert_allclose(
            found["some"], expected[name]["some"], rtol=0, atol=tolerance, err_msg=name
        )
        np.testing.assert_allclose(found["norm"], expected[name]["norm"], rtol=1e-5)


def test_torchvisions_boxes(published):
    regions, expected = published
    predict = jax.jit(Task(CLASSES).predict)
    found = predict(regions, {"extent": jnp.float32(EXTENTS)})
    for i, image in enumerate(expected["detections"]):
        count = len(image["scores"])
        assert np.sum(found["labels"][i] >= 0) == count > 50
        np.testing.assert_array_equal(found["labels"][i, :count] + 1, image["labels"])
        np.testing.assert_allclose(found["scores"][i, :count], image["scores"], atol=1e-4)
        np.testing.assert_allclose(found["boxes"][i, :count], image["boxes"], atol=1e-3)


def test_torchvisions_names_and_shapes():
    torch = pytest.importorskip("torch")
    try:
        with torch.device("meta"):
            net = network()
    except (ImportError, RuntimeError) as error:  # torchvision is absent, or not of this PyTorch
        pytest.skip(f"torchvision: {error}")
    ours = flat(*made_small(FasterRCNN(CLASSES, depth=18)))
    empty = {k: np.broadcast_to(np.float32(0), v.shape) for k, v in net.state_dict().items()}
    theirs = {path: array.shape for path, array in renamed(empty, ours).items()}
    assert theirs == {path: leaf.shape for path, leaf in ours.items()}


def made_small(model):
    """Shapes of its parameters and state."""
    x = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    return jax.eval_shape(functional(model).init, jax.random.key(0), (x, EXTENT))


def test_names_of_old_weight_files():
    ours = flat(*made_small(FasterRCNN(**SMALL)))
    old = ["rpn.head.conv.weight", "rpn.head.conv.bias", "backbone.fpn.layer_blocks.0.bias"]
    assert list(renamed({name: np.zeros((1, 1, 1, 1)) for name in old}, ours)) == [
        "rpn/head/conv/0/0/kernel",
        "rpn/head/conv/0/0/bias",
        "backbone/fpn/layer_blocks/0/0/bias",
    ]


@pytest.fixture(scope="module")
def trained():
    """A small one, compiled as in training: what it says of (key, train mode)."""
    model = functional(FasterRCNN(**SMALL))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64, 3)), jnp.float32)
    state = jax.jit(model.init)(jax.random.key(0), (x, EXTENT))
    apply = jax.jit(eval_mode(model).apply, static_argnums=4)
    return lambda key: apply(*state, (x, EXTENT, TRUTH), key, True)[0]


def test_training_samples_by_its_key_also_with_frozen_statistics(trained):
    one, same, other = (trained(jax.random.key(seed)) for seed in (1, 1, 2))
    assert one.proposals.shape == (2, 8, 4) and one.logits.shape == (2, 8, 3)
    for a, b in zip(*map(jax.tree.leaves, (one, same)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(one.chance != other.chance)
    assert jax.eval_shape(lambda: trained(None)).chance.shape == one.chance.shape


def test_the_true_boxes_are_among_the_proposals(trained):
    regions = trained(jax.random.key(0))
    truth = np.array([3, 5, 40, 35])
    assert np.any(np.all(regions.proposals == truth, axis=-1), axis=1).all()
    assert np.all(regions.proposals[~regions.real] == 0)
    assert np.all(regions.proposals[1, :, 3] <= 40)  # the extent of the second picture


def one_level(boxes, logits):
    """A level whose anchors are boxes, without deltas, of one image."""
    boxes, logits = np.float32(boxes), np.float32(logits)[None, :, None]
    return Level(*map(jnp.asarray, (logits, 0 * boxes[None])), None, jnp.asarray(boxes))


def test_proposals_repeat_no_better_one_of_their_level():
    same = [[10, 10, 30, 30], [10, 10, 30, 31], [50, 50, 90, 90], [-20, -20, -5, -5]]
    levels = (one_level(same, [1.0, 2, 0, 9]), one_level(same[:1], [3.0]))
    extent, found = jnp.array([[80.0, 70]]), jax.jit(propose, static_argnums=(2, 3))
    boxes, real = found(levels, extent, 10, 5)
    assert real[0].tolist() == [True] * 3 + [False] * 2
    expected = [[10, 10, 30, 30], [10, 10, 30, 31], [50, 50, 70, 80]]
    np.testing.assert_array_equal(boxes[0, :3], expected)
    few, real = found(levels, extent, 1, 5)
    assert real[0].tolist() == [True, False]  # the best of the first level is outside
    np.testing.assert_array_equal(few[0, 0], [10, 10, 30, 30])


def test_a_quarter_of_the_sample_is_of_objects_and_nothing_is_of_crowds():
    truth = Truth(
        np.int32([[0, 0, 20, 20], [50, 50, 90, 90], [0, 0, 0, 0]]) * 256,
        np.array([True, False, False]),
        np.array([False, True, False]),
    )
    good = [[0, 0, 20, 20 + i] for i in range(6)]
    bad = [[30, 0, 50 + i, 20] for i in range(9)]
    crowded = [[60, 60, 70 + i, 80] for i in range(5)]
    proposals = np.float32([*good, *bad, *crowded])
    chance = np.random.default_rng(0).uniform(size=len(proposals) + 3).astype(np.float32)
    choose = jax.jit(functools.partial(choose_proposals, count=8))
    for real, count in ((np.ones(20, bool), 8), (np.arange(20) < 8, 4)):
        boxes, taken = map(np.asarray, choose(proposals, real, truth, chance))
        assert boxes.shape == (8, 4) and np.sum(taken) == count
        assert np.sum(boxes[:, 0] == 30) == count - 2 and np.sum(boxes[taken, 0] == 0) == 2
        assert not np.any(boxes[:, 0] >= 50)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": (1, 5)}, r"config\.model\.levels: the first and the last must be 2 to 5"),
        ({"levels": (2, 6)}, "levels"),
        ({"levels": (5, 4)}, "levels"),
        ({"candidates": (0, 10)}, r"config\.model\.candidates: give two numbers of at least 1"),
        ({"proposals": (10, 0)}, r"config\.model\.proposals: give two numbers"),
        ({"samples": 3}, r"config\.model\.samples: must be at least 4, got 3"),
        ({"hidden": 0}, r"config\.model\.hidden: must be at least 1"),
        ({"anchor": 0.1}, r"config\.model\.anchor: must be at least 0.5 strides"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        made_small(FasterRCNN(**SMALL | settings))


def test_another_task_is_refused():
    with pytest.raises(UserError, match=r"set config\.task\.name to 'faster_rcnn'"):
        made(FasterRCNN(**SMALL), 64)

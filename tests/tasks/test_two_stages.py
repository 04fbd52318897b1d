"""Detection in two stages: losses and detections."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from published_detections import BOXES, CLASSES, LABELS, SIZE
from published_two_stages import ALL, ANSWERS, first_stage, second_stage

from jaxdl.boxes import Level, Regions
from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.tasks import FCOS, FasterRCNN

TASK = FasterRCNN(CLASSES, samples=ALL)


def regions(times=1):
    """What the two stages say of each of several images, with a place for a proposal left over."""
    levels = tuple(
        Level(*(jnp.stack([x] * times) for x in (logits, code)), None, jnp.asarray(anchors))
        for anchors, logits, code in first_stage()
    )
    parts = [np.concatenate([part, 0 * part[:1]]) for part in second_stage()]
    proposals, logits, deltas = (jnp.stack([part] * times) for part in parts)
    real = jnp.broadcast_to(jnp.arange(proposals.shape[1]) < proposals.shape[1] - 1, (times, 126))
    return Regions(levels, None, proposals, real, logits, deltas)


def batch(*labels, crowd=()):
    """Images with the boxes of `BOXES`, each of a label, or -1 for none."""
    shape = (len(labels), len(LABELS) + 1)
    truth = {
        "image": np.zeros((len(labels), SIZE, SIZE, 3), np.uint8),
        "boxes": np.zeros((*shape, 4), np.float32),
        "labels": np.full(shape, -1),
        "crowd": np.zeros(shape, bool),
        "extent": np.tile(np.float32([SIZE - 3, SIZE]), (len(labels), 1)),
        "scale": np.ones(len(labels), np.float32),
    }
    truth["boxes"][:, : len(BOXES)] = BOXES
    truth["labels"][:, : len(BOXES)] = labels
    truth["crowd"][:, list(crowd)] = True
    return truth


@pytest.fixture(scope="module")
def answers():
    return json.loads(ANSWERS.read_text())


@pytest.fixture(scope="module")
def taught():
    """The gradient of the loss of all images, and the parts of each image's."""

    def total(said, truth):
        parts = TASK.training_metrics(said, truth)
        return jnp.sum(parts["loss"]), parts

    return jax.jit(jax.grad(total, has_aux=True, allow_int=True))


def test_the_losses_of_an_image_are_torchvisions(taught, answers):
    _, found = taught(regions(2), batch(LABELS, [-1] * 5))
    parts = {name: value for name, value in answers.items() if name.endswith("_loss")}
    assert len(parts) == 4 and {*found} == {"loss", *parts}
    for name, value in parts.items():
        np.testing.assert_allclose(found[name][0], value, rtol=1e-5)
    np.testing.assert_allclose(found["loss"][0], sum(parts.values()), rtol=1e-5)
    assert found["proposal_loss"][1] == found["box_loss"][1] == 0  # no object, no box to learn


def test_the_detections_of_an_image_are_torchvisions(answers):
    found = jax.jit(TASK.predict)(regions(), batch(LABELS))
    assert len(answers["scores"]) == TASK.limit
    for name, value in found.items():
        np.testing.assert_allclose(value[0], answers[name], rtol=1e-5, atol=1e-4)


def test_gradients_are_finite_and_reach_both_stages(taught):
    found, _ = taught(regions(2), batch(LABELS, [-1] * 5))
    for leaf in [*found.levels, found.logits, found.deltas, found.proposals]:
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(leaf))
    assert all(np.any(level.logits != 0) for level in found.levels)
    code = np.concatenate([level.deltas for level in found.levels], axis=1)
    assert np.any(code[0]) and not np.any(code[1])
    assert np.all(found.logits[:, :-1] != 0) and not np.any(found.logits[:, -1])
    assert np.any(found.deltas[0, :, 1:]) and not np.any(found.deltas[:, :, 0])


def test_nothing_inside_a_crowd_is_learnt(taught):
    labels = np.where(np.arange(5) == 3, LABELS, -1)  # the one that spans the image
    inside, _ = taught(regions(2), batch(labels, labels, crowd=[3]))
    proposals = np.asarray(regions().proposals[0])
    middle = (proposals[:, :2] + proposals[:, 2:]) / 2
    covered = np.all((middle > BOXES[3, :2]) & (middle < BOXES[3, 2:]), axis=1)
    taught = np.any(inside.logits[0] != 0, axis=-1)
    assert not np.any(taught[covered]) and np.all(taught[~covered][:-1])
    assert not np.any(inside.deltas) and not any(np.any(x.deltas) for x in inside.levels)


@pytest.mark.slow
def test_a_sample_is_of_half_positive_anchors_by_chance():
    task = dataclasses.replace(TASK, samples=8)
    level = regions().levels[0]
    first = jax.jit(jax.grad(lambda *said: task._first_stage(level.anchors, *said)[0]))
    truth = jnp.asarray(BOXES), jnp.asarray(LABELS), jnp.zeros(5, bool)

    def learnt(seed):
        chance = jax.random.uniform(jax.random.key(seed), (len(level.anchors),))
        return first(level.logits[0, :, 0], level.deltas[0], chance, truth)

    one, other = learnt(0), learnt(1)
    assert np.sum(one != 0) == np.sum(other != 0) == 8 and np.any((one != 0) != (other != 0))
    assert np.sum(one < 0) == 4  # a step raises these


def test_in_evaluation_an_image_s_loss_does_not_depend_on_its_place_in_the_batch():
    few = jax.jit(FasterRCNN(CLASSES, samples=8).training_metrics)
    losses = few(regions(3), batch(LABELS, LABELS, LABELS))["objectness_loss"]
    assert losses[0] == losses[1] == losses[2]


def test_in_training_the_model_is_given_the_truth():
    truth = batch(LABELS)
    truth["boxes"][0, 0] = [0.5, 0.25, 1001, 900]
    (image, extent), (_, _, (boxes, real, crowd)) = TASK.inputs(truth), TASK.training_inputs(truth)
    assert image is truth["image"] and extent.dtype == boxes.dtype == jnp.int32
    assert (boxes[0, 0] / 256).tolist() == [0.5, 0.25, 1001, 900]  # bfloat16 has no 1001
    assert real[0].tolist() == [True] * 5 + [False] and not np.any(crowd)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FasterRCNN(0), "classes must be at least 1"),
        (lambda: FasterRCNN(3, samples=0), "samples must be at least 1"),
        (lambda: FasterRCNN(3, positive=1.5), "positive must be from 0 to 1"),
        (lambda: FasterRCNN(3, positive=0.2), "negative must be at most positive, 0.2, got 0.3"),
        (
            lambda: FasterRCNN(2).loss(regions(), batch(LABELS)),
            "the model has 3, but config.task has 2",
        ),
        (
            lambda: FasterRCNN(2).predict(regions(), batch(LABELS)),
            "the model has 3, but config.task has 2",
        ),
        (lambda: FasterRCNN(3).loss(regions().levels, batch(LABELS)), "needs config.model.name"),
        (lambda: FCOS(3).loss(regions(), batch(LABELS)), "needs a detector; set config.model.name"),
        (lambda: FasterRCNN(2).check(Table(batch(LABELS))), "image 0 has an object of class 2"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()

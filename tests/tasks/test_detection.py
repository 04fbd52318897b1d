"""Detection: assignment, losses and detections."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from published_detections import ANSWERS, BOXES, CLASSES, LABELS, SIZE, levels

from jaxdl.boxes import Level
from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.tasks.detection import FCOS, Detection, RetinaNet, focal_loss

# With torchvision's settings of each: it is asked for scores above 0.2.
TASKS = {
    "fcos": FCOS(CLASSES, threshold=0.2),
    "retinanet": RetinaNet(CLASSES, threshold=0.2, limit=300),
}
LOSS = {head: jax.jit(task.loss) for head, task in TASKS.items()}
SLOPES = {
    head: jax.jit(jax.grad(lambda heads, truth, task=task: jnp.sum(task.loss(heads, truth))))
    for head, task in TASKS.items()
}


def outputs(head, times=2):
    return tuple(
        Level(
            *(jnp.stack([x] * times) for x in (logits, code)),
            jnp.stack([centre] * times) if head == "fcos" else None,
            jnp.asarray(anchors),
        )
        for anchors, logits, code, centre in levels(head)
    )


def batch(*labels, crowd=(), room=0):
    """Images with the boxes of `BOXES`, each of a label, or -1 for none; and room for more."""
    shape = (len(labels), len(LABELS) + room)
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


@pytest.mark.parametrize("head", TASKS)
def test_the_loss_of_an_image_is_torchvisions(head, answers):
    loss = LOSS[head](outputs(head), batch(LABELS, [-1] * 5))
    np.testing.assert_allclose(loss[0], answers[head]["loss"], rtol=1e-5)


def test_objects_that_no_anchor_is_to_find_are_known():
    boxes = jnp.array([[97, 97, 101, 101], [96, 96, 112, 112], [0, 0, 256, 256]], float)
    expected = {"fcos": [False, True, True], "retinanet": [False, True, False]}
    for head, task in TASKS.items():
        assert task.taught(outputs(head), boxes).tolist() == expected[head]


@pytest.mark.parametrize("head", TASKS)
def test_the_detections_of_an_image_are_torchvisions(head, answers):
    found = jax.jit(TASKS[head].predict)(outputs(head, times=1), batch(LABELS))
    theirs = {name: np.array(answers[head][name]) for name in found}
    # It also gives what is wholly outside the picture, as boxes without area on its edge.
    real = np.all(theirs["boxes"][:, 2:] > theirs["boxes"][:, :2], axis=1)
    assert len(real) == TASKS[head].limit and np.mean(real) > 0.9
    for name, value in found.items():
        expected = theirs[name][real]
        np.testing.assert_allclose(value[0, : len(expected)], expected, rtol=1e-5, atol=1e-4)


def test_fewer_detections_than_there_is_room_for_are_padded():
    predict = jax.jit(FCOS(CLASSES, threshold=0.97).predict)
    found = predict(outputs("fcos", times=1), batch(LABELS))
    none = found["labels"][0] < 0
    assert 0 < np.sum(~none) < 100 and np.all(found["scores"][0, ~none] > 0.97)
    assert np.all(found["labels"][0, none] == -1) and np.all(found["scores"][0, none] == 0)
    assert np.all(found["boxes"][0, none] == 0)


@pytest.mark.parametrize("head", TASKS)
def test_padding_changes_nothing(head):
    heads, labels = outputs(head), (LABELS, [-1] * 5)
    loss = LOSS[head](heads, batch(*labels))
    np.testing.assert_allclose(LOSS[head](heads, batch(*labels, room=3)), loss, rtol=1e-6)


@pytest.mark.parametrize("head", TASKS)
def test_an_image_without_objects_has_the_loss_of_the_background(head):
    heads = outputs(head)
    loss = LOSS[head](heads, batch([-1] * 5, LABELS))
    logits = jnp.concatenate([level.logits[0] for level in heads])
    np.testing.assert_allclose(loss[0], np.sum(focal_loss(logits, 0 * logits, 0.25, 2)), rtol=1e-5)
    assert loss[1] != loss[0]


@pytest.mark.parametrize("head", TASKS)
def test_gradients_are_finite_and_reach_every_part(head):
    slopes = SLOPES[head](outputs(head), batch(LABELS, [-1] * 5))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    for level in slopes:
        assert np.any(level.logits != 0) and np.any(level.deltas[0] != 0)
        assert np.all(level.deltas[1] == 0)  # no object, no box to learn


@pytest.mark.parametrize("head", TASKS)
def test_nothing_inside_a_crowd_is_learnt(head):
    heads = outputs(head)
    labels = np.where(np.arange(5) == 3, LABELS, -1)  # the one that spans the image
    inside = SLOPES[head](heads, batch(labels, labels, crowd=[3]))
    anchors = np.concatenate([level.anchors for level in heads])
    middle = (anchors[:, :2] + anchors[:, 2:]) / 2
    covered = np.all((middle > BOXES[3, :2]) & (middle < BOXES[3, 2:]), axis=1)
    logits = np.concatenate([level.logits[0] for level in inside])
    assert np.all(logits[covered] == 0) and np.all(logits[~covered] != 0)
    assert all(np.all(level.deltas == 0) for level in inside)


def test_focal_loss():
    logits, wanted = jnp.array([-2.0, 0.5, 3.0]), jnp.array([1.0, 0.0, 1.0])
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    expected = np.where(
        wanted == 1, -0.3 * (1 - p) ** 1.5 * np.log(p), -0.7 * p**1.5 * np.log1p(-p)
    )
    np.testing.assert_allclose(focal_loss(logits, wanted, 0.3, 1.5), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FCOS(0), "classes must be at least 1"),
        (lambda: FCOS(3, limit=0), "limit must be at least 1"),
        (lambda: FCOS(3, threshold=1.5), "threshold must be from 0 to 1"),
        (lambda: RetinaNet(3, gamma=-1.0), "gamma must be finite"),
        (
            lambda: FCOS(2).loss(outputs("fcos", 1), batch(LABELS)),
            "the model has 3, but config.task has 2",
        ),
        (lambda: FCOS(3).loss(outputs("retinanet", 1), batch(LABELS)), "set config.model.head"),
        (lambda: RetinaNet(3).loss(outputs("fcos", 1), batch(LABELS)), "gives centre-ness"),
        (lambda: FCOS(2).check(Table(batch(LABELS))), "image 0 has an object of class 2"),
        (lambda: FCOS(3).check(Table({"image": np.zeros(1)})), "no column 'boxes'"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()


def test_a_report_of_detections_that_are_the_truth():
    task: Detection = FCOS(3)
    truth = batch(LABELS, [-1] * 5)
    found = {
        "boxes": truth["boxes"],
        "scores": np.where(truth["labels"] >= 0, 0.9, 0),
        "labels": truth["labels"],
    }
    report = task.report({"loss": 0.5, "detections": found}, Table(truth, classes=("a", "b", "c")))
    assert report["loss"] == 0.5 and report["AP"] == 1.0

"""Localisation: the loss, ILSVRC's errors, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.boxes import Located
from jaxdl.data.table import Table
from jaxdl.tasks import Localization

HEIGHT, WIDTH = 40, 80
TRUTH = (10.0, 10.0, 30.0, 30.0)
FAR = (50.0, 5.0, 60.0, 15.0)
# Half of its area is the truth, which it covers: an intersection over union of exactly ½.
TWICE = (10.0, 0.0, 30.0, 40.0)
CLASSES = 8


IMAGES = 6  # of every batch, so that little is compiled


def batch(*objects, room=2, images=IMAGES):
    """An image for each list of (class, box) or (class, box, crowd), scaled by ½, and more."""
    columns = {
        "image": np.zeros((images, HEIGHT, WIDTH, 3), np.float32),
        "boxes": np.zeros((images, room, 4), np.float32),
        "labels": np.full((images, room), -1, np.int32),
        "crowd": np.zeros((images, room), bool),
        "extent": np.tile(np.float32([HEIGHT, WIDTH]), (images, 1)),
        "scale": np.full(images, 0.5, np.float32),
    }
    for i, of_image in enumerate([*objects, *[[(3, TRUTH)]] * (images - len(objects))]):
        for j, (label, box, *crowd) in enumerate(of_image):
            columns["labels"][i, j], columns["boxes"][i, j] = label, box
            columns["crowd"][i, j] = bool(crowd)
    return columns


def outputs(ranked, *boxes, classes=CLASSES):
    """Of each image the classes from the likeliest on, and boxes in pixels; the last repeats."""
    more = IMAGES - len(ranked)
    logits = np.zeros((IMAGES, classes), np.float32)
    for row, order in zip(logits, [*ranked, *[ranked[-1]] * more], strict=True):
        row[list(order)] = np.arange(len(order), 0, -1)
    pixels = np.float32([*boxes, *[boxes[-1]] * more]).reshape(IMAGES, -1, 4)
    return Located(
        jnp.asarray(logits), jnp.asarray(pixels / [WIDTH, HEIGHT, WIDTH, HEIGHT], jnp.float32)
    )


@functools.cache
def compiled(method, **settings):
    return jax.jit(getattr(Localization(**{"classes": CLASSES, **settings}), method))


def errors(located, truth, **settings):
    """The errors of each image."""
    means = compiled("metrics", **settings)(located, truth)
    return {k: v.value.astype(int).tolist() for k, v in means.items() if k.endswith("_error")}


def test_a_guess_is_right_with_the_class_and_more_than_half_of_the_overlap():
    truth = batch()
    ranked = [(3,), (3,), (3,), (0, 1, 2, 4, 3), (0, 1, 2, 4, 5, 3), (0, 3)]
    boxes = (TRUTH, FAR, TWICE, TRUTH, TRUTH, FAR)
    assert errors(outputs(ranked, *boxes), truth) == {
        "top1_error": [0, 0, 0, 1, 1, 1],
        "top1_localization_error": [0, 1, 1, 1, 1, 1],
        "top5_error": [0, 0, 0, 0, 1, 0],
        "top5_localization_error": [0, 1, 1, 0, 1, 1],
    }


def test_a_box_of_another_class_is_not_asked_for():
    """With a box for each class, that of the guessed class counts."""
    boxes = np.tile(FAR, (CLASSES, 1))
    boxes[3] = TRUTH
    truth = batch()
    located = outputs([(3,), (3,)], boxes, np.roll(boxes, 1, 0))
    assert errors(located, truth)["top1_localization_error"][:2] == [0, 1]
    found = compiled("predict")(outputs([(4, 3)], boxes), truth)
    np.testing.assert_allclose(found["boxes"][0, :2], [FAR, TRUTH], rtol=1e-5)


def test_of_the_largest_object_any_of_its_class_will_do():
    small = (12.0, 12.0, 20.0, 20.0)
    crowd = [(5, (0, 0, WIDTH, HEIGHT), True), (3, TRUTH)]
    truth = batch([(3, small), (3, TRUTH)], [(5, small), (3, TRUTH)], crowd)
    located = outputs([(3,)] * 3, small, small, TRUTH)
    for objects in ("one", "largest"):
        found = errors(located, truth, objects=objects)
        assert found["top1_localization_error"][:3] == [0, 1, 0]


def test_with_few_classes_there_is_one_guess():
    located, truth = outputs([(1, 0, 2)], TRUTH, classes=3), batch(*[[(1, TRUTH)]] * IMAGES)
    assert compiled("predict", classes=3)(located, truth)["labels"].shape == (IMAGES, 1)
    assert {*errors(located, truth, classes=3)} == {"top1_error", "top1_localization_error"}


def test_the_loss_is_cross_entropy_and_generalised_iou():
    """Of TWICE the IoU is ½, and no hull is around; of FAR it is 0, in a hull of 50 by 25."""
    located, truth = outputs([(3,), (0, 3)], TWICE, FAR), batch()
    log_p = np.asarray(jax.nn.log_softmax(located.logits))[:, 3]
    box_loss = np.array([0.5, *[1 + (50 * 25 - 20 * 20 - 10 * 10) / (50 * 25)] * 5])
    found = compiled("training_metrics", box_weight=2.0)(located, truth)
    np.testing.assert_allclose(found["class_loss"], -log_p, rtol=1e-5)
    np.testing.assert_allclose(found["box_loss"], box_loss, rtol=1e-5)
    np.testing.assert_allclose(found["loss"], 2 * box_loss - log_p, rtol=1e-5)
    smooth = compiled("training_metrics", label_smoothing=0.1)(located, truth)
    assert (smooth["class_loss"] > -log_p).all()
    shown = compiled("metrics", label_smoothing=0.1)(located, truth)
    np.testing.assert_allclose(shown["class_loss"].value, -log_p, rtol=1e-5)
    np.testing.assert_allclose(shown["iou"].value, [0.5, 0, 0, 0, 0, 0], atol=1e-6)


def test_an_image_whose_object_has_moved_out_counts_for_nothing():
    truth = batch([(3, TRUTH)], [], [(3, TRUTH), (2, FAR)])
    for objects, weight in {"one": [1, 0, 0], "largest": [1, 0, 1]}.items():
        assert compiled("weight", objects=objects)(truth)[:3].tolist() == weight
        loss = compiled("loss", objects=objects)(outputs([(3,)], TWICE), truth)
        assert (loss[:3] > 0).tolist() == np.bool(weight).tolist()


def test_answers_are_in_pixels_of_the_image_as_it_was():
    truth, task = batch(), Localization(CLASSES)
    located = outputs([(3, 4)], (-8.0, 4.0, 40.0, 44.0))
    (best,) = task.answers(located, truth, ("a", "b", "c", "door"))[0]
    assert best.name == "door" and best.box == pytest.approx((0, 8, 80, 80), abs=1e-3)
    several = task.answers(located, truth, (), top=9)[0]
    assert [a.name for a in several[:2]] == ["3", "4"] and len(several) == CLASSES
    assert sum(answer.value for answer in several) == pytest.approx(1, abs=1e-5)
    assert task.answers(located, truth, (), top=9, score=best.value)[0] == several[:1]


REFUSED = {
    "none": (batch([(3, TRUTH)], [], [], images=3), {}, "image 1 has no object (2 such of 3)"),
    "crowd": (batch([(3, TRUTH, True)], images=1), {}, "image 0 has no object (1 such of 1)"),
    "several": (
        batch([(3, TRUTH)], [(3, TRUTH), (2, FAR)], images=2),
        {},
        "image 1 has 2 objects (1 such of 2), but localization expects one per image; set "
        "config.task.objects='largest'",
    ),
    "none of several": (batch([], [(3, FAR)]), {"objects": "largest"}, "image 0 has no object"),
    "class": (batch([(CLASSES, FAR)]), {}, f"an object of class {CLASSES}, but"),
    "column": ({"image": np.zeros((1, 8, 8, 3))}, {}, "drawn_objects"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_images(refuses, name):
    columns, settings, fragment = REFUSED[name]
    with refuses(fragment):
        Localization(CLASSES, **settings).check(Table(columns, "mine, train split"))


def test_the_largest_of_several_is_a_setting():
    table = Table(batch([(3, TRUTH), (2, FAR)], [(3, TRUTH), (2, FAR, True)]))
    Localization(CLASSES, objects="largest").check(table)
    Localization(CLASSES).check(Table(table[np.arange(1, IMAGES)]))


@pytest.mark.parametrize(
    ("settings", "fragment"),
    [
        ({"classes": 1}, "classes must be at least 2"),
        ({"box_weight": -1.0}, "box_weight must be finite and at least 0"),
        ({"box_weight": float("nan")}, "box_weight must be finite"),
        ({"label_smoothing": 1.0}, "label_smoothing must be in [0, 1)"),
    ],
)
def test_refuses_settings(refuses, settings, fragment):
    with refuses(fragment):
        Localization(**{"classes": CLASSES, **settings})


@pytest.mark.parametrize(
    ("located", "fragment"),
    [
        (jnp.zeros((1, CLASSES)), "set config.model.name to 'localizer'"),
        ((jnp.zeros((1, CLASSES)),), "set config.model.name to 'localizer'"),
        ((jnp.zeros((1, 9)), jnp.zeros((1, 1, 4))), f"config.task.classes is {CLASSES}"),
        ((jnp.zeros((1, CLASSES)), jnp.zeros((1, 3, 4))), "boxes (1, 3, 4)"),
        ((jnp.zeros((1, CLASSES)), jnp.zeros((1, 4))), "boxes (1, 4)"),
    ],
)
def test_refuses_outputs(refuses, located, fragment):
    with refuses("config.model", fragment):
        Localization(CLASSES).loss(located, batch([(3, TRUTH)]))


def test_refuses_mixed_images(refuses):
    truth = {**batch([(3, TRUTH)]), "share": np.ones(1, np.float32)}
    with refuses("leave out mixup"):
        Localization(CLASSES).loss(outputs([(3,)], TRUTH), truth)

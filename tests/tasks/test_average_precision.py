"""Average precision, against pycocotools, VOC's development kit, and numbers worked out by hand."""

import contextlib
import io
import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.tasks.average_precision import area_under_curve, average_precision, eleven_points

CLASSES = ("ant", "bee", "cat", "dog")


def split(images, scale=None, classes=CLASSES):
    """Predictions and a table, of images that are lists of objects and lists of detections.

    An object is (label, box, crowd) and a detection (label, box, score), in pixels of the image.
    """
    scale = np.ones(len(images)) if scale is None else np.asarray(scale)

    def padded(which, kind):
        room = max([1, *(len(image[which]) for image in images)])
        boxes = np.full((len(images), room, 4), 7, np.float32)  # padding is to mean nothing
        labels, marks = np.full((len(images), room), -1), np.ones((len(images), room), kind)
        for i, image in enumerate(images):
            for j, (label, box, mark) in enumerate(image[which]):
                boxes[i, j] = np.asarray(box) * scale[i]
                labels[i, j], marks[i, j] = label, mark
        return boxes, labels, marks

    boxes, labels, crowd = padded(0, bool)
    columns = {"boxes": boxes, "labels": labels, "crowd": crowd, "scale": scale.astype(np.float32)}
    found = dict(zip(("boxes", "labels", "scores"), padded(1, np.float32), strict=True))
    return found, Table(columns, classes=classes)


def measured(images, **options):
    return average_precision(*split(images, **options))


def random_images(random):
    """Whole pixels, so that overlaps of exactly ½ and areas of exactly 32² occur."""
    images = []
    kinds, objects, detections = random.choice([1, 2, 4]), random.choice([1, 3, 8]), 0
    if random.random() < 0.9:
        detections = random.choice([2, 10, 130])
    for _ in range(random.integers(1, 5)):

        def box():
            side = random.choice([4, 16, 32, 50, 96, 200], 2)
            corner = random.integers(0, 60, 2)
            return np.array([*corner, *(corner + side)])

        truth = [
            (random.integers(kinds), box(), random.random() < 0.2)
            for _ in range(random.integers(objects + 1))
        ]
        found = []
        for _ in range(random.integers(detections + 1)):
            label, near, _ = truth[random.integers(len(truth))] if truth else (0, box(), False)
            if random.random() < 0.2:
                label = random.integers(kinds + 1)
            if random.random() < 0.2:
                near = box()
            elif random.random() < 0.7:
                near = near + random.choice([0, 0, 1, 2], 4) * (1, 1, 2, 2)
            found.append((label, near, np.float32(random.choice([0.125, 0.25, random.random()]))))
        images.append((truth, found))
    return images


def by_pycocotools(images):
    """Its numbers, and its precision (overlaps, recalls, classes, sizes)."""
    truth, found = [], []
    for i, (objects, detections) in enumerate(images):
        for into, what in ((truth, objects), (found, detections)):
            for label, (x1, y1, x2, y2), mark in what:
                sides = float(x2 - x1), float(y2 - y1)
                into.append(
                    {"id": len(into) + 1, "image_id": 10 + i, "category_id": 20 + int(label)}
                    | {"bbox": [float(x1), float(y1), *sides], "area": sides[0] * sides[1]}
                    | ({"iscrowd": int(mark)} if into is truth else {"score": float(mark)})
                )
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in (truth, found):
            side = COCO()
            side.dataset = {
                "images": [{"id": 10 + i} for i in range(len(images))],
                "categories": [{"id": 20 + k} for k in range(len(CLASSES))],
                "annotations": annotations,
            }
            side.createIndex()
            sides.append(side)
        judge = COCOeval(*sides, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    names = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", None, None, "AR100")
    numbers = {n: s for n, s in zip(names, judge.stats, strict=False) if n and s != -1}
    return numbers, judge.eval["precision"][..., 2]


def by_development_kit(images, label):
    """The loop of VOCevaldet.m: whether each detection is right, and how many objects there are."""
    ranked = sorted(
        (-score, i, j)
        for i, (_, found) in enumerate(images)
        for j, (of, _, score) in enumerate(found)
        if of == label
    )
    taken, right = set(), []
    for _, i, j in ranked:
        best, where = Fraction(-1), None
        for k, (of, truth, _) in enumerate(images[i][0]):
            if of == label:
                box = images[i][1][j][1]
                width = int(min(box[2], truth[2]) - max(box[0], truth[0]))
                height = int(min(box[3], truth[3]) - max(box[1], truth[1]))
                shared = width * height if width > 0 and height > 0 else 0
                areas = [int((b[2] - b[0]) * (b[3] - b[1])) for b in (box, truth)]
                overlap = Fraction(shared, sum(areas) - shared)
                if overlap > best:
                    best, where = overlap, k
        if best >= Fraction(1, 2):
            if images[i][0][where][2]:
                continue
            right.append((i, where) not in taken)
            taken.add((i, where))
        else:
            right.append(False)
    return right, sum(int(of == label and not hard) for truth, _ in images for of, _, hard in truth)


def average(right, objects):
    """(area, eleven points) by the definitions, in fractions."""
    hits, curve = 0, []
    for rank, one in enumerate(right, start=1):
        hits += int(one)
        curve.append((Fraction(hits, objects), Fraction(hits, rank)))

    def best(recall):
        return max((p for r, p in curve if r >= recall), default=Fraction(0))

    levels = sorted({Fraction(0), *(r for r, _ in curve)})
    area = sum((b - a) * best(b) for a, b in itertools.pairwise(levels))
    return float(area), float(sum(best(Fraction(i, 10)) for i in range(11)) / 11)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_numbers_are_those_of_pycocotools(seed):
    random = np.random.default_rng(seed)
    images = random_images(random)
    got = measured(images, scale=random.choice([0.25, 0.5, 1.0, 2.0, 4.0], len(images)))
    expected, precision = by_pycocotools(images)
    shared = {name: got[name] for name in got if name.startswith("A")}
    assert shared == pytest.approx(expected, abs=1e-6)
    there = [k for k in range(len(CLASSES)) if precision[0, 0, k, 0] != -1]
    for table, part in (("class_AP", precision), ("class_AP50", precision[:1])):
        means = {CLASSES[k]: part[..., k, 0].mean() for k in there}
        assert got[table] == pytest.approx(means, abs=1e-6)
    assert list(got["precision_recall"]) == [CLASSES[k] for k in there]
    for k in there:
        curve = got["precision_recall"][CLASSES[k]]
        np.testing.assert_allclose(curve, precision[0, :, k, 0], atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_numbers_are_those_of_the_development_kit(seed):
    random = np.random.default_rng(seed)
    images = random_images(random)
    got = measured(images, scale=random.choice([0.25, 0.5, 1.0, 2.0, 4.0], len(images)))
    judged = {name: by_development_kit(images, k) for k, name in enumerate(CLASSES)}
    expected = {name: average(*one) for name, one in judged.items() if one[1]}
    for i, name in enumerate(("", "_11point")):
        table = {k: value[i] for k, value in expected.items()}
        assert got[f"class_VOC50{name}"] == pytest.approx(table, abs=1e-9)
        if expected:
            mean = np.mean(list(table.values()))
            assert got[f"mAP50{name}"] == pytest.approx(mean, abs=1e-9)
        else:
            assert f"mAP50{name}" not in got


@pytest.mark.parametrize(
    ("ranks", "objects", "area", "points"),
    [
        ((1, 3), 2, 5 / 6, 28 / 33),  # ½ of the objects at precision 1, ½ at ⅔
        ((2,), 2, 1 / 4, 6 * (1 / 2) / 11),
        ((), 3, 0, 0),
        # 24 detections of 15 objects, worked out by Padilla et al. 2020, "A survey on performance
        # metrics for object-detection algorithms": 24.56 and 26.84 %. Recalls of .2 and .4 are
        # reached exactly.
        ((1, 3, 10, 12, 13, 14, 23), 15, 0.2456867, 0.2683983),
    ],
)
def test_curves_by_hand(ranks, objects, area, points):
    right = np.isin(np.arange(1, 25), ranks)
    assert area_under_curve(right, objects) == pytest.approx(area, abs=1e-7)
    assert eleven_points(right, objects) == pytest.approx(points, abs=1e-7)


def test_no_detection_is_no_precision():
    assert area_under_curve(np.zeros(0, bool), 3) == eleven_points(np.zeros(0, bool), 3) == 0


def test_a_recall_that_is_reached_exactly_counts():
    # 3 of 10 objects: .3 is less than 3 * .1 in floating point.
    assert eleven_points(np.ones(3, bool), 10) == pytest.approx(4 / 11)


BOX, SMALL, LARGE = (10, 10, 50, 50), (0, 0, 20, 20), (0, 0, 200, 100)


def test_perfect_detections():
    truth = [[(0, BOX, False), (1, LARGE, False)], [], [(0, SMALL, False)]]
    got = measured([(t, [(k, box, 0.5) for k, box, _ in t]) for t in truth])
    names = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100", "mAP50")
    assert {name: got[name] for name in names} == dict.fromkeys(names, pytest.approx(1))
    assert got["mAP50_11point"] == pytest.approx(1)
    tables = {name for name, value in got.items() if isinstance(value, dict)}
    assert all(list(got[name]) == ["ant", "bee"] for name in tables)
    assert got["precision_recall"]["ant"] == pytest.approx([1] * 101)


def test_each_image_has_its_own_objects():
    got = measured([([(0, BOX, False)], []), ([], [(0, BOX, 0.9)])])
    assert got["AP50"] == got["mAP50"] == 0


def test_a_wrong_detection_in_an_image_without_objects_counts():
    right = ([(0, BOX, False)], [(0, BOX, 0.5)])
    got = measured([right, ([], [(0, BOX, 0.9)])])
    assert got["AP50"] == got["mAP50"] == pytest.approx(0.5)


def test_a_class_without_objects_is_absent():
    got = measured([([(1, BOX, False), (3, BOX, True)], [(1, BOX, 0.9), (0, BOX, 1), (3, BOX, 1)])])
    assert list(got["class_AP"]) == list(got["class_VOC50"]) == ["bee"]
    assert got["AP"] == got["mAP50"] == pytest.approx(1)
    assert not {"AP_small", "AP_large"} & set(got) and got["AP_medium"] == pytest.approx(1)


@pytest.mark.parametrize("truth", [[], [(0, BOX, True)]])
def test_without_objects_there_are_no_numbers(truth):
    got = measured([(truth, [(0, BOX, 0.9)])])
    assert all(value == {} for value in got.values()) and "class_AP" in got


def test_without_detections_nothing_is_found():
    got = measured([([(0, BOX, False)], [])])
    numbers = {name: value for name, value in got.items() if isinstance(value, float)}
    assert set(numbers.values()) == {0.0} and {"AP", "AR100", "mAP50"} <= set(numbers)


def test_what_is_marked_is_neither_to_be_found_nor_wrong_to_find():
    truth = [(0, BOX, False), (0, LARGE, True)]
    sure = [(0, LARGE, 0.9), (0, LARGE, 0.8), (0, BOX, 0.1)]
    got = measured([(truth, sure)])
    assert got["AP50"] == got["mAP50"] == got["mAP50_11point"] == pytest.approx(1)


def test_a_second_detection_of_an_object_is_wrong():
    truth = [(0, BOX, False), (0, LARGE, False)]
    got = measured([(truth, [(0, BOX, 0.9), (0, BOX, 0.8), (0, LARGE, 0.7)])])
    assert got["mAP50"] == pytest.approx((1 + 2 / 3) / 2)


def test_of_an_image_only_the_hundred_best_of_a_class_count():
    wrong = [(0, SMALL, 0.9)] * 100
    found = [*wrong, (0, BOX, 0.1)]
    assert measured([([(0, BOX, False)], found)])["AP50"] == 0
    other = [*wrong, (1, BOX, 0.1)]
    assert measured([([(1, BOX, False)], other)])["AP50"] == pytest.approx(1)


def test_sizes_are_of_the_images_as_they_were_read():
    image = ([(0, SMALL, False)], [(0, SMALL, 0.9)])  # 20 pixels, 80 on the canvas
    assert "AP_small" in measured([image], scale=[4.0])
    grown = ([(0, LARGE, False)], [(0, LARGE, 0.9)])  # 200 by 100 pixels, 25 by 12
    assert "AP_large" in measured([grown], scale=[0.125])


def test_classes_without_names_are_numbers():
    image = ([(0, BOX, False), (2, BOX, False)], [])
    assert list(measured([image], classes=("ant",))["class_AP"]) == ["ant", "2"]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_only_the_order_of_scores_matters(seed):
    images = random_images(np.random.default_rng(seed))
    found, table = split(images)
    other = {**found, "scores": 4 * found["scores"]}
    assert average_precision(found, table) == average_precision(other, table)


def test_nothing_is_printed(capfd):
    measured([([(0, BOX, False)], [(0, BOX, 0.9)])])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "value"), [("boxes", np.nan), ("scores", np.inf)])
def test_detections_that_are_not_finite_are_refused(name, value):
    found, table = split([([], []), ([(0, BOX, False)], [(0, BOX, 0.9)])])
    found[name][0] = value  # padding may be anything
    average_precision(found, table)
    found[name][1, 0] = value
    with pytest.raises(UserError, match=r"detections of image 1 are not finite; lower"):
        average_precision(found, table)


def test_detections_of_other_images_are_refused():
    found, table = split([([], []), ([(0, BOX, False)], [])])
    fewer = {name: value[:1] for name, value in found.items()}
    with pytest.raises(UserError, match=r"2 images, but detections for 1; give those of every"):
        average_precision(fewer, table)

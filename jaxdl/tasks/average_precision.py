"""Average precision of detections: COCO's, by its evaluator, and Pascal VOC's.

Both rank the detections of a class over all images, each of which is right if it overlaps an object
that no better one has found, and average the precision over the recall. They differ in what an
overlap is, in which recalls they average over, and in what is counted where nothing is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.tasks.answer import class_names

_OVERLAP = 0.5  # of VOC


class Placed(NamedTuple):
    """Boxes of all images one after another, in pixels of the images as they were read.

    Attributes:
      image: the row of its image, ascending.
      label: its class.
      box: (x₁, y₁, x₂, y₂), whose sides are differences.
      mark: of an object, whether it is a crowd; of a detection, its score.
    """

    image: Int[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    box: Float[np.ndarray, "n 4"]
    mark: Any


def average_precision(predictions: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """Average precision of the detections of every image of a split.

    Args:
      predictions: `boxes` (N, D, 4), `scores` (N, D) and `labels` (N, D), -1 where there is none;
        in pixels of the canvas, which `scale` divides into those of the images.
      table: the split, with `boxes` (N, O, 4), `labels` (N, O), -1 where there is none, `crowd`
        (N, O) and `scale` (N,). What is marked as crowd is neither to be found nor wrong to find:
        COCO's crowds, VOC's difficult objects.

    Returns:
      Numbers of `coco` and `voc`, and their tables, dicts by class. What there are no objects for
      is left out: a class, or a size.

    Raises:
      UserError: the predictions are not of these images, or not finite.
    """
    columns = {name: table.columns[name][:] for name in ("boxes", "labels", "crowd", "scale")}
    if len(predictions["labels"]) != len(table):
        raise UserError(
            f"{table.where}: {len(table)} images, but detections for {len(predictions['labels'])}; "
            "give those of every image, in order"
        )
    found = _placed(predictions, predictions["scores"], columns["scale"])
    wrong = ~(np.isfinite(found.box).all(axis=1) & np.isfinite(found.mark))
    if wrong.any():
        raise UserError(
            f"{table.where}: detections of image {found.image[wrong][0]} are not finite; lower the "
            "learning rate, or set config.optimizer.clip_norm"
        )
    truth = _placed(columns, columns["crowd"], columns["scale"])
    labels = np.unique(truth.label).tolist()
    known = class_names(table.classes, max([len(table.classes), *(k + 1 for k in labels)]))
    names = {label: known[label] for label in labels}
    return {**coco(found, truth, len(table), names), **voc(found, truth, names)}


def coco(found: Placed, truth: Placed, images: int, names: Mapping[int, str]) -> dict[str, Any]:
    """COCO's measures, by faster-coco-eval, which gives the numbers of pycocotools.

    An area is that of the box: where COCO has outlines, its own sizes are of those, which shifts
    some objects between small, medium and large.

    Args:
      found: the detections; of each class the 100 best of an image count.
      truth: the objects.
      images: how many there are.
      names: of the classes.

    Returns:
      `AP` (mean over intersections over union .50, .55, …, .95), `AP50`, `AP75`, `AP_small` (areas
      below 32² pixels), `AP_medium`, `AP_large` (above 96²), and `AR100`. The tables `class_AP`,
      `class_AP50`, and `precision_recall`: of each class the precision at the recalls 0, .01, …, 1,
      at an intersection over union of .5.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    if not names:
        return {"class_AP": {}, "class_AP50": {}, "precision_recall": {}}
    where = {
        "images": [{"id": i} for i in range(images)],
        "categories": [{"id": label, "name": name} for label, name in names.items()],
    }
    objects = COCO({**where, "annotations": _annotations(truth, "iscrowd")})
    detections = COCO({**where, "annotations": _annotations(found, "score")})
    evaluator = COCOeval_faster(objects, detections, "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    # (overlaps, recalls, classes, sizes, limits) and (overlaps, classes, sizes, limits); -1 where
    # there is no object. The last limit is 100.
    precision, recall = evaluator.eval["precision"][..., -1], evaluator.eval["recall"][..., -1]
    size = {name: precision[..., i] for i, name in enumerate(evaluator.params.areaRngLbl)}
    overall = size["all"]
    metrics = {
        "AP": overall,
        "AP50": overall[0],
        "AP75": overall[5],
        **{f"AP_{name}": size[name] for name in ("small", "medium", "large")},
        "AR100": recall[..., 0],
    }
    curves = dict(zip(names.values(), np.moveaxis(overall, 2, 0), strict=True))
    return {
        **_means(metrics),
        "class_AP": _means(curves),
        "class_AP50": _means({name: curve[0] for name, curve in curves.items()}),
        "precision_recall": {
            n: curve[0].tolist() for n, curve in curves.items() if curve.max() >= 0
        },
    }


def voc(found: Placed, truth: Placed, names: Mapping[int, str]) -> dict[str, Any]:
    """VOC's measures at an intersection over union of .5 (Everingham et al. 2010, section 4.2).

    As its development kit has it, a detection belongs to the object of its class that it overlaps
    most, and is wrong where a better one had that already. Of difficult objects, it does not count.

    Args:
      found: the detections.
      truth: the objects.
      names: of the classes.

    Returns:
      `mAP50`, means over classes of the area under the curve, VOC's since 2010, and
      `mAP50_11point`, that until 2009. The tables `class_VOC50` and `class_VOC50_11point`.
    """
    order = np.argsort(-found.mark, kind="stable")
    found = Placed(*(part[order] for part in found))
    overlap, nearest = _nearest(found, truth)
    hit = overlap >= _OVERLAP
    first = np.zeros(len(hit), bool)
    first[np.flatnonzero(hit)[np.unique(nearest[hit], return_index=True)[1]]] = True
    counts = ~hit | ~truth.mark[nearest] if len(truth.mark) else ~hit
    area, points = dict[str, float](), dict[str, float]()
    for label, name in names.items():
        objects = int(np.sum((truth.label == label) & ~truth.mark))
        if objects:
            right = first[counts & (found.label == label)]
            area[name] = area_under_curve(right, objects)
            points[name] = eleven_points(right, objects)
    means = {"mAP50": area, "mAP50_11point": points} if area else {}
    return {
        **{name: float(np.mean(list(of.values()))) for name, of in means.items()},
        "class_VOC50": area,
        "class_VOC50_11point": points,
    }


def area_under_curve(right: Bool[np.ndarray, " n"], objects: int) -> float:
    """The mean over all objects of the best precision at which so many are found.

    Args:
      right: which detections are, the surest first.
      objects: how many there are to find, at least 1.
    """
    return float(_envelope(right)[right].sum() / objects)


def eleven_points(right: Bool[np.ndarray, " n"], objects: int) -> float:
    """The mean of the best precision at recalls of at least 0, .1, …, 1, as `area_under_curve`."""
    reached = 10 * np.cumsum(right)  # whole numbers: 3/10 of the objects is a recall of .3
    at = np.searchsorted(reached, objects * np.arange(11))
    return float(np.append(_envelope(right), 0.0)[at].mean())


def _envelope(right: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The best precision from each rank on."""
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return np.maximum.accumulate(precision[::-1])[::-1]


def _placed(of: Mapping[str, Any], mark: Any, scale: Any) -> Placed:
    """What has a label."""
    labels = np.asarray(of["labels"])
    image, place = np.nonzero(labels >= 0)
    box = np.asarray(of["boxes"], np.float64)[image, place] / np.asarray(scale)[image, None]
    return Placed(image, labels[image, place], box, np.asarray(mark)[image, place])


def _annotations(placed: Placed, mark: str) -> list[dict[str, Any]]:
    """In the evaluator's form; it takes 0 for no id, and sides for the greatest corner."""
    sides = placed.box[:, 2:] - placed.box[:, :2]
    boxes = np.concatenate([placed.box[:, :2], sides], axis=1)
    parts = (placed.image, placed.label, boxes, np.prod(sides, axis=1), placed.mark)
    return [
        {"id": i, "image_id": image, "category_id": label, "bbox": box, "area": area, mark: value}
        for i, (image, label, box, area, value) in enumerate(
            zip(*(part.tolist() for part in parts), strict=True), start=1
        )
    ]


def _means(precisions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The mean of each over what has objects, which is not -1; without any it is left out."""
    there = {name: values[values >= 0] for name, values in precisions.items()}
    return {name: float(values.mean()) for name, values in there.items() if values.size}


def _nearest(found: Placed, truth: Placed) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Of each detection the greatest overlap with an object of its image and class, and which."""
    overlap, nearest = np.zeros(len(found.image)), np.zeros(len(found.image), int)
    order = np.argsort(found.image, kind="stable")
    images = np.unique(truth.image)
    of_image = [np.searchsorted(truth.image, images, side) for side in ("left", "right")]
    by_image = [np.searchsorted(found.image[order], images, side) for side in ("left", "right")]
    for start, end, first, last in zip(*of_image, *by_image, strict=True):
        rows = order[first:last]
        shared = _iou(found.box[rows], truth.box[start:end])
        shared[found.label[rows, None] != truth.label[start:end]] = 0
        overlap[rows], nearest[rows] = shared.max(axis=1), start + shared.argmax(axis=1)
    return overlap, nearest


def _iou(
    boxes: Float[np.ndarray, "n 4"], others: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, "n m"]:
    """Intersection over union in float64, where one of exactly ½ is."""
    boxes, others = boxes[:, None], others[None]
    least = np.maximum(boxes[..., :2], others[..., :2])
    greatest = np.minimum(boxes[..., 2:], others[..., 2:])
    shared = np.prod(np.maximum(greatest - least, 0), axis=-1)
    areas = [np.prod(b[..., 2:] - b[..., :2], axis=-1) for b in (boxes, others)]
    return shared / np.maximum(areas[0] + areas[1] - shared, np.finfo(float).tiny)

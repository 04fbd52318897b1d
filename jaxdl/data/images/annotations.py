"""Images with boxes: annotations of any format as tables.

Pictures differ in size, so each is scaled to fit a canvas of one size and put at its top left; the
rest is 0. Images differ in their number of objects, so all have room for as many as the image with
the most.

    image   (N, height, width, 3) uint8: the canvases
    boxes   (N, room, 4) float32: (x₁, y₁, x₂, y₂) in pixels of the canvas, the right and lower
            sides where the next pixel begins; 0 in unused room
    labels  (N, room) int32: the classes; -1 in unused room
    crowd   (N, room) bool: a group, or an object too hard to count
    extent  (N, 2) float32: height and width of the picture on the canvas
    scale   (N,) float32: pixels of the canvas for one pixel of the original image
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from jaxdl.data import user_files
from jaxdl.data.images.canvas import Canvases
from jaxdl.data.images.frame import Size, scaling
from jaxdl.data.images.lazy import Encoded
from jaxdl.data.table import Table
from jaxdl.data.validation import tell_alike
from jaxdl.errors import UserError

Degenerate = Literal["refuse", "drop"]
Outside = Literal["refuse", "clip"]
Corners = tuple[float, float, float, float]

_OBJECT = 21  # bytes of an object in the columns: four corners, a label, and `crowd`
_OVERSHOOT = 2.0  # pixels that a box may lie outside its image, since tools round

_log = logging.getLogger("jaxdl")


@dataclass(frozen=True)
class Objects:
    """The objects of one image.

    Args:
      image: what to call the image's annotation in a message: the file, and the line or number.
      shape: height and width of the image, in pixels.
      boxes: (x₁, y₁, x₂, y₂) of each, in pixels from the image's top left corner: the right and
        lower sides are where the next pixel begins.
      labels: their classes.
      crowd: which of them are groups, or too hard to count: whether these are detected does not
        count.
      where: what to call each object in a message.
    """

    image: str
    shape: Size
    boxes: list[Corners] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    where: list[str] = field(default_factory=list)

    def add(self, box: Corners, label: int, crowd: bool, where: str) -> None:
        """Append an object."""
        self.boxes.append(box)
        self.labels.append(label)
        self.crowd.append(crowd)
        self.where.append(where)


@dataclass(frozen=True)
class Annotated:
    """A split: images and the objects in them.

    Args:
      encoded: the images.
      objects: the objects of each image.
      where: what to call the split in a message.
      upright: the boxes are of the images rotated as their Exif notes say.
    """

    encoded: Encoded
    objects: Sequence[Objects]
    where: str
    upright: bool = False


def require_size(source: str, size: Size) -> None:
    """Refuse a canvas of less than one pixel."""
    if min(size) < 1:
        raise UserError(f"{source}: size={size}; give height and width, at least 1 pixel each")


def tables(
    splits: Mapping[str, Annotated],
    classes: tuple[str, ...],
    size: Size,
    degenerate: Degenerate,
    lazy: bool,
    outside: Outside = "refuse",
) -> dict[str, Table]:
    """A table for each split, with the columns that `jaxdl.data.images.annotations` names.

    Args:
      splits: by role.
      classes: the name of each label.
      size: height and width of the canvases, in pixels.
      degenerate: what to do with a box without area.
      lazy: leave the images where they are, and decode them when they are needed.
      outside: what to do with a box that is more than two pixels outside its image; up to there
        tools round, and it is clipped.

    Raises:
      UserError: a split has no images, or the train split no objects; a box is not finite, outside
        its image, or without area; all boxes are within one pixel, as shares are; a label is not
        a class; or an image is missing, damaged, or not of the shape that its annotations have.
    """
    tell_alike(classes, splits["train"].where)
    boxes = {
        role: _clipped(split, len(classes), degenerate, outside) for role, split in splits.items()
    }
    if not any(len(each.labels) for each in boxes["train"]):
        raise UserError(f"{splits['train'].where}: no image has an object; add annotations")
    if all(each.crowd.all() for each in boxes["train"]):
        raise UserError(
            f"{splits['train'].where}: all objects are marked as a crowd, or as difficult, from "
            "which nothing is learnt; correct the marks"
        )
    for role, part in boxes.items():
        if not any(len(each.labels) for each in part):
            _log.warning(
                "%s: no image has an object, so its precision cannot be measured; if there are "
                "objects, check where the annotations are",
                splits[role].where,
            )
    most = max(len(each.labels) for part in boxes.values() for each in part)
    images = sum(map(len, boxes.values()))
    # Every image has room for as many objects as the one with the most.
    user_files.require_memory(
        images * most * _OBJECT,
        f"{splits['train'].where}: {images} images with room for {most} objects each",
        "remove the image with so many",
    )
    return {
        role: Table(
            {
                "image": _images(split, size, lazy),
                **columns(boxes[role], [scaling(o.shape, size) for o in split.objects], most),
            },
            split.where,
            classes,
        )
        for role, split in splits.items()
    }


@dataclass(frozen=True)
class Boxes:
    """Valid objects of one image: boxes (objects, 4), labels (objects,) and crowd (objects,)."""

    boxes: Float[np.ndarray, "objects 4"]
    labels: Int[np.ndarray, " objects"]
    crowd: Bool[np.ndarray, " objects"]


def columns(
    objects: Sequence[Boxes], scales: Sequence[tuple[float, Size]], most: int
) -> dict[str, Shaped[np.ndarray, "examples ..."]]:
    """All columns but the images.

    Args:
      objects: those of each image.
      scales: the scale of each image, and its extent on the canvas, from `scaling`.
      most: room for objects in the columns.
    """
    boxes = np.zeros((len(objects), most, 4), np.float32)
    labels = np.full((len(objects), most), -1, np.int32)
    crowd = np.zeros((len(objects), most), bool)
    for i, (each, (scale, (height, width))) in enumerate(zip(objects, scales, strict=True)):
        count = len(each.labels)
        # The extent is rounded to whole pixels, so a scaled box may stand out by half a pixel.
        boxes[i, :count] = np.minimum(each.boxes * scale, [width, height, width, height])
        labels[i, :count], crowd[i, :count] = each.labels, each.crowd
    return {
        "boxes": boxes,
        "labels": labels,
        "crowd": crowd,
        "extent": np.array([extent for _, extent in scales], np.float32),
        "scale": np.array([scale for scale, _ in scales], np.float32),
    }


def _images(
    split: Annotated, size: Size, lazy: bool
) -> Canvases | UInt8[np.ndarray, "examples height width 3"]:
    shapes = [objects.shape for objects in split.objects]
    where = [objects.image for objects in split.objects]
    images = Canvases(split.encoded, shapes, where, size, split.upright)
    return images if lazy else images.read(f"{split.where}, kept in memory (lazy=True avoids that)")


def _clipped(
    split: Annotated, classes: int, degenerate: Degenerate, outside: Outside
) -> list[Boxes]:
    """The objects of each image, their boxes checked and clipped to it."""
    if not split.objects:
        raise UserError(f"{split.where}: no images; a split needs at least one")
    counts = [len(objects.where) for objects in split.objects]
    image = np.repeat(np.arange(len(counts)), counts)
    where = [name for objects in split.objects for name in objects.where]
    boxes = np.array([box for o in split.objects for box in o.boxes], float).reshape(-1, 4)
    labels = np.array([label for o in split.objects for label in o.labels], np.int64)
    crowd = np.array([is_crowd for o in split.objects for is_crowd in o.crowd], bool)
    shapes = np.array([objects.shape for objects in split.objects], float)[image]

    def refuse(wrong: Bool[np.ndarray, " objects"], why: str) -> None:
        if wrong.any():
            first = int(np.argmax(wrong))
            height, width = split.objects[image[first]].shape
            reason = why.format(box=_shown(boxes[first]), label=labels[first], h=height, w=width)
            raise UserError(f"{where[first]}: {reason} ({wrong.sum()} like it in this split)")

    refuse((labels < 0) | (labels >= classes),
           f"class {{label}}, but classes go from 0 to {classes - 1}; correct it")  # fmt: skip
    refuse(~np.isfinite(boxes).all(1), "box {box} is not finite; correct or remove it")
    swapped = np.any(boxes[:, 2:] < boxes[:, :2], axis=1)
    refuse(swapped, "box {box} ends before it begins: its sides are swapped, or its width or "
           "height is negative; correct or remove it")  # fmt: skip
    limits = shapes[:, [1, 0, 1, 0]]
    if (np.abs(boxes) <= 1).all() and (shapes > 2).all():
        refuse(boxes[:, 2] <= 1, "box {box} is within one pixel, as all are: shares of the sides? "
               "multiply them by the width, {w}, and the height, {h}")  # fmt: skip
    beyond = np.maximum(-boxes, boxes - limits).max(1, initial=-np.inf) > _OVERSHOOT
    if outside == "refuse":
        refuse(beyond, "box {box} is outside its image, {w} wide and {h} high; correct it, or set "
               "outside='clip'")  # fmt: skip
    elif beyond.any():
        first = where[int(np.argmax(beyond))]
        _log.warning(
            "%s: clipped %d boxes to their images, first %s", split.where, beyond.sum(), first
        )
    clipped = np.clip(boxes, 0, limits)
    empty = (clipped[:, 2:] <= clipped[:, :2]).any(1)
    if degenerate == "refuse":
        refuse(empty, "box {box} has no area in its image; correct or remove it, or set "
               "degenerate='drop'")  # fmt: skip
    elif empty.any():
        first = where[int(np.argmax(empty))]
        _log.warning("%s: dropped %d boxes without area, first %s", split.where, empty.sum(), first)
    rows = [np.flatnonzero(~empty[start:stop]) + start for start, stop in _ranges(counts)]
    return [Boxes(clipped[r], labels[r], crowd[r]) for r in rows]


def _shown(box: Float[np.ndarray, " corners=4"]) -> str:
    return "({})".format(", ".join(f"{number:g}" for number in box))


def _ranges(counts: Sequence[int]) -> list[tuple[int, int]]:
    stops = np.cumsum(counts).tolist()
    return list(zip([0, *stops], stops, strict=False))

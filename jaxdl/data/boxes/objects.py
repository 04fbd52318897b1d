"""What annotations say of images, whatever they are written in, and the tables made of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from jaxdl.data import documents
from jaxdl.data.boxes.canvas import Canvases, Size, scaling
from jaxdl.data.photos import Encoded
from jaxdl.data.table import Table
from jaxdl.errors import UserError

Degenerate = Literal["refuse", "drop"]
Corners = tuple[float, float, float, float]

_OBJECT = 21  # bytes in the columns: four corners, a label, crowd or not
_OVERSHOOT = 2.0  # pixels by which tools that round may leave the image

_log = logging.getLogger("jaxdl")


@dataclass(frozen=True)
class Objects:
    """The objects of one image.

    Args:
      image: what to call what is said of the image in a message: the file, and the line or number.
      shape: height and width of the image.
      boxes: (x₁, y₁, x₂, y₂) of each, in pixels from the image's top left corner: the right and
        lower sides are where the next pixel begins.
      labels: their classes.
      crowd: which of them are no single object, or too hard to count: neither to be found nor to
        be missed.
      where: what to call each in a message.
    """

    image: str
    shape: Size
    boxes: list[Corners] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    where: list[str] = field(default_factory=list)

    def add(self, box: Corners, label: int, crowd: bool, where: str) -> None:
        """One more."""
        self.boxes.append(box)
        self.labels.append(label)
        self.crowd.append(crowd)
        self.where.append(where)


@dataclass(frozen=True)
class Annotated:
    """A split: images and the objects in them.

    Args:
      encoded: the images.
      objects: of each.
      where: what to call the split in a message.
      upright: whether boxes are of the images as a camera noted that they are to be turned.
    """

    encoded: Encoded
    objects: Sequence[Objects]
    where: str
    upright: bool = False


def require_size(source: str, size: Size) -> None:
    """Refuse a canvas without pixels."""
    if min(size) < 1:
        raise UserError(f"{source}: size={size}; give height and width, at least 1 pixel each")


def tables(
    splits: Mapping[str, Annotated],
    classes: tuple[str, ...],
    size: Size,
    degenerate: Degenerate,
    lazy: bool,
) -> dict[str, Table]:
    """A table for each split, with the columns that `jaxdl.data.boxes` names.

    Args:
      splits: by role.
      classes: the name of each label.
      size: height and width of the canvases.
      degenerate: what to do with a box without area.
      lazy: leave the images where they are, and decode them as they are needed.

    Raises:
      UserError: a split without images, a train split without objects, a box that is no number, is
        outside its image by more than two pixels, has no area, or a label that is no class; or an
        image that is missing, not sound, or not of the shape that its annotations are of.
    """
    sound = {role: _sound(split, len(classes), degenerate) for role, split in splits.items()}
    if not sum(len(found.labels) for found in sound["train"]):
        raise UserError(
            f"{splits['train'].where}: no image has an object; there is nothing to learn"
        )
    most = max(len(found.labels) for part in sound.values() for found in part)
    images = sum(map(len, sound.values()))
    # Every image has room for as many objects as the one with the most.
    documents.require_memory(
        images * most * _OBJECT,
        f"{splits['train'].where}: {images} images with room for {most} objects each",
        "remove the image that has so many",
    )
    return {
        role: Table(
            {
                "image": _images(split, size, lazy),
                **columns(sound[role], [scaling(o.shape, size) for o in split.objects], most),
            },
            split.where,
            classes,
        )
        for role, split in splits.items()
    }


@dataclass(frozen=True)
class Found:
    """Sound objects of one image: boxes (objects, 4), labels (objects,) and crowd (objects,)."""

    boxes: Float[np.ndarray, "objects 4"]
    labels: Int[np.ndarray, " objects"]
    crowd: Bool[np.ndarray, " objects"]


def columns(
    found: Sequence[Found], scales: Sequence[tuple[float, Size]], most: int
) -> dict[str, Shaped[np.ndarray, "examples ..."]]:
    """All columns but the images.

    Args:
      found: the objects of each image.
      scales: its scale, and its extent on the canvas, as `scaling` gives them.
      most: room for objects in the columns.
    """
    boxes = np.zeros((len(found), most, 4), np.float32)
    labels = np.full((len(found), most), -1, np.int32)
    crowd = np.zeros((len(found), most), bool)
    for i, (objects, (scale, (height, width))) in enumerate(zip(found, scales, strict=True)):
        count = len(objects.labels)
        # Whole pixels may be half a pixel less than what the scale alone would give.
        boxes[i, :count] = np.minimum(objects.boxes * scale, [width, height, width, height])
        labels[i, :count], crowd[i, :count] = objects.labels, objects.crowd
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
    return images if lazy else images.read(f"{split.where}, held in memory (lazy=True needs none)")


def _sound(split: Annotated, classes: int, degenerate: Degenerate) -> list[Found]:
    """The objects of each image, clipped to it."""
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
            says = why.format(box=_shown(boxes[first]), label=labels[first], h=height, w=width)
            raise UserError(f"{where[first]}: {says} ({wrong.sum()} such in this split)")

    refuse((labels < 0) | (labels >= classes),
           f"class {{label}}, but classes go from 0 to {classes - 1}; mend it")  # fmt: skip
    refuse(~np.isfinite(boxes).all(1), "box {box} is not finite; mend or remove it")
    limits = shapes[:, [1, 0, 1, 0]]
    overshoot = np.maximum(-boxes, boxes - limits).max(1, initial=-np.inf)
    refuse(overshoot > _OVERSHOOT, "box {box} is outside its image, {w} wide and {h} high; mend it")
    clipped = np.clip(boxes, 0, limits)
    empty = (clipped[:, 2:] <= clipped[:, :2]).any(1)
    if degenerate == "refuse":
        refuse(empty, "box {box} has no area; mend or remove it, or set degenerate='drop'")
    elif empty.any():
        first = where[int(np.argmax(empty))]
        _log.warning("%s: dropped %d boxes without area, first %s", split.where, empty.sum(), first)
    rows = [np.flatnonzero(~empty[start:stop]) + start for start, stop in _ranges(counts)]
    return [Found(clipped[r], labels[r], crowd[r]) for r in rows]


def _shown(box: Float[np.ndarray, " corners=4"]) -> str:
    return "({})".format(", ".join(f"{number:g}" for number in box))


def _ranges(counts: Sequence[int]) -> list[tuple[int, int]]:
    stops = np.cumsum(counts).tolist()
    return list(zip([0, *stops], stops, strict=False))

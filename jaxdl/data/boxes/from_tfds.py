"""Boxes of TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from jaxdl.data import documents, pixels
from jaxdl.data.boxes.objects import Annotated, Degenerate, Objects, Size, require_size, tables
from jaxdl.data.from_tfds import Records, in_blocks, lacking, named, prepared, require_disjoint
from jaxdl.data.table import Table
from jaxdl.errors import UserError

_HARD = ("is_crowd", "is_difficult")  # what TFDS calls objects that do not count


def tfds_boxes(
    dataset: str,
    size: Size,
    train: str = "train",
    test: str | None = "test",
    validation: str | None = None,
    image: str = "image",
    objects: str = "objects",
    data_dir: str | None = None,
    degenerate: Degenerate = "refuse",
    lazy: bool = False,
) -> dict[str, Table]:
    """Images with boxes that TFDS has prepared as array_record.

    Args:
      dataset: name as TFDS has it, such as 'voc/2007' or 'coco/2017'.
      size: height and width of the canvas that each image is scaled to fit.
      train: which examples make the train split, such as 'train' or 'train[:90%]'.
      test: the same of the test split; None for no such split.
      validation: the same of the validation split.
      image: the feature that holds the image.
      objects: the feature that holds the objects, a sequence with `bbox` and `label`, and perhaps
        `is_crowd` or `is_difficult`; either makes an object `crowd`.
      data_dir: where the data is prepared; by default TFDS_DATA_DIR, or ~/tensorflow_datasets.
      degenerate: refuse a box without area, or drop it.
      lazy: decode images as they are needed, for data that memory does not hold.

    Returns:
      The columns of `jaxdl.data.boxes`.

    Raises:
      UserError: as `tfds`; a feature that is not there or not of that kind; a box or image that is
        not sound.
    """
    require_size("tfds_boxes", size)
    builder = prepared(dataset, data_dir)
    instructions = {"train": train, "validation": validation, "test": test}
    wanted = {role: part for role, part in instructions.items() if part is not None}
    require_disjoint(builder, dataset, wanted)
    classes, hard = _described(builder, dataset, image, objects)
    splits = {
        role: Annotated(
            Records(builder, part, image),
            _read(builder, part, image, objects, hard),
            named(dataset, part),
        )
        for role, part in wanted.items()
    }
    return tables(splits, classes, size, degenerate, lazy)


def _described(
    builder: Any, dataset: str, image: str, objects: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the classes, and the features that say which objects do not count."""
    from tensorflow_datasets import features

    described = builder.info.features
    for name in (image, objects):
        if name not in described:
            near = difflib.get_close_matches(name, described, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"tfds {dataset!r}: no feature {name!r}; {hint}it has {', '.join(described)}"
            )
    if not isinstance(described[image], features.Image):
        raise UserError(f"tfds {dataset!r}: feature {image!r} is no image")
    inside = getattr(described[objects], "feature", None)
    kinds = dict(inside.items()) if isinstance(inside, features.FeaturesDict) else {}
    if not isinstance(kinds.get("bbox"), features.BBoxFeature) or not isinstance(
        kinds.get("label"), features.ClassLabel
    ):
        raise UserError(
            f"tfds {dataset!r}: feature {objects!r} is no sequence of objects, each with a 'bbox' "
            "and a 'label'; name the one that is"
        )
    label = kinds["label"]
    classes = tuple(label.names or map(str, range(label.num_classes)))
    return classes, tuple(name for name in _HARD if name in kinds)


def _read(
    builder: Any, part: str, image: str, objects: str, hard: tuple[str, ...]
) -> list[Objects]:
    """The objects of every image of a split, in the order of its files."""
    read: list[Objects] = []
    for block in in_blocks(builder, part):
        for example in block:
            encoded, found = example[image], example[objects]
            if not isinstance(encoded, bytes) or not isinstance(found, Mapping):
                missing = objects if isinstance(encoded, bytes) else image
                raise UserError(lacking(builder, part, len(read), missing))
            where = f"{named(builder.info.full_name, part)} example {len(read)}"
            with documents.reading(where, "its objects"):
                read.append(_objects(encoded, found, hard, where))
    return read


def _objects(
    encoded: bytes, found: Mapping[str, Any], hard: tuple[str, ...], where: str
) -> Objects:
    try:
        height, width = pixels.size(encoded, upright=False)
    except Exception as error:  # Pillow raises ten types for damaged files
        raise UserError(f"{where}: {pixels.reason(encoded, error)}") from error
    objects = Objects(where, (height, width))
    for i, (box, label) in enumerate(zip(found["bbox"], found["label"], strict=True)):
        top, left, bottom, right = map(float, box)  # shares of the sides
        corners = (left * width, top * height, right * width, bottom * height)
        crowd = any(found[name][i] for name in hard)
        objects.add(corners, int(label), crowd, f"{where}, object {i}")
    return objects

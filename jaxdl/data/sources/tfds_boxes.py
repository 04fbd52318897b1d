"""Images with boxes from TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxdl.data import user_files
from jaxdl.data.images import pixels
from jaxdl.data.images.annotations import (
    Annotated,
    Degenerate,
    Objects,
    Outside,
    Size,
    require_size,
    tables,
)
from jaxdl.data.sources import tfds_records
from jaxdl.data.table import Table
from jaxdl.errors import UserError

_CROWD = ("is_crowd", "is_difficult")  # the features of objects that do not count


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
    outside: Outside = "refuse",
) -> dict[str, Table]:
    """Images with boxes that TFDS has prepared as array_record.

    Args:
      dataset: name as TFDS has it, such as 'voc/2007' or 'coco/2017'.
      size: height and width in pixels of the canvas that each image is scaled to fit.
      train: which examples make the train split, such as 'train' or 'train[:90%]'.
      test: the examples of the test split; None for no test split.
      validation: the examples of the validation split; None for no validation split.
      image: the feature that holds the image.
      objects: the feature that holds the objects, a sequence with `bbox` and `label`, and perhaps
        `is_crowd` or `is_difficult`; either makes an object `crowd`.
      data_dir: where the data is prepared; by default TFDS_DATA_DIR, or ~/tensorflow_datasets.
      degenerate: refuse a box without area, or drop it.
      lazy: decode images when they are needed, for data that does not fit in memory.
      outside: refuse a box that is more than two pixels outside its image, or clip it.

    Returns:
      The columns of `jaxdl.data.images.annotations`.

    Raises:
      UserError: as `tfds`; a feature is missing or of another kind; a box or an image is damaged.
    """
    require_size("tfds_boxes", size)
    builder = tfds_records.load_builder(dataset, data_dir)
    instructions = {"train": train, "validation": validation, "test": test}
    parts = {role: part for role, part in instructions.items() if part is not None}
    tfds_records.require_disjoint(builder, dataset, parts)
    classes, crowd = _require_boxes(builder, dataset, image, objects)
    splits = {}
    for role, part in parts.items():
        split = tfds_records.Split(builder, part)
        splits[role] = Annotated(
            tfds_records.EncodedRecords(split, image),
            _read(split, image, objects, crowd),
            tfds_records.split_name(dataset, part),
        )
    return tables(splits, classes, size, degenerate, lazy, outside)


def _require_boxes(
    builder: Any, dataset: str, image: str, objects: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the classes, and the features that say which objects do not count.

    Raises:
      UserError: the features are not an image and a sequence of objects.
    """
    from tensorflow_datasets import features

    for name in (image, objects):
        tfds_records.require_feature(builder, dataset, name)
    info = builder.info.features
    if not isinstance(info[image], features.Image):
        raise UserError(
            f"tfds {dataset!r}: feature {image!r} is not an image; name the one that is"
        )
    element = getattr(info[objects], "feature", None)
    fields = dict(element.items()) if isinstance(element, features.FeaturesDict) else {}
    label = fields.get("label")
    if not isinstance(fields.get("bbox"), features.BBoxFeature) or not isinstance(
        label, features.ClassLabel
    ):
        raise UserError(
            f"tfds {dataset!r}: feature {objects!r} is not a sequence of objects, each with a "
            "'bbox' and a 'label'; name the one that is"
        )
    classes = tuple(label.names or map(str, range(label.num_classes)))
    return classes, tuple(name for name in _CROWD if name in fields)


def _read(
    split: tfds_records.Split, image: str, objects: str, crowd: tuple[str, ...]
) -> list[Objects]:
    """The objects of every image of a split, in the order of its files."""
    annotations: list[Objects] = []
    for block in split.blocks():
        for example in block:
            encoded, fields = example[image], example[objects]
            if not isinstance(encoded, bytes) or not isinstance(fields, Mapping):
                missing = objects if isinstance(encoded, bytes) else image
                raise split.missing(len(annotations), missing)
            where = f"{split.where} example {len(annotations)}"
            with user_files.reading(where, "its objects"):
                annotations.append(_objects(encoded, fields, crowd, where))
    return annotations


def _objects(
    encoded: bytes, fields: Mapping[str, Any], crowd: tuple[str, ...], where: str
) -> Objects:
    """The objects of one image. TFDS has corners in shares of the image's sides."""
    try:
        height, width = pixels.size(encoded, upright=False)
    except Exception as error:  # Pillow raises ten types for damaged files
        raise UserError(f"{where}: {pixels.reason(encoded, error)}") from error
    objects = Objects(where, (height, width))
    for i, (box, label) in enumerate(zip(fields["bbox"], fields["label"], strict=True)):
        top, left, bottom, right = map(float, box)
        corners = (left * width, top * height, right * width, bottom * height)
        is_crowd = any(fields[name][i] for name in crowd)
        objects.add(corners, int(label), is_crowd, f"{where}, object {i}")
    return objects

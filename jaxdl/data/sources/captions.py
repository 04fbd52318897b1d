"""Images and captions in a user's own files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxdl import json_files
from jaxdl.data import user_files
from jaxdl.data.images import pixels
from jaxdl.data.images.frame import Fit, Frame, Size
from jaxdl.data.sources.box_files import inside
from jaxdl.data.sources.json_lines import has_records
from jaxdl.data.splits import partition
from jaxdl.data.table import Table
from jaxdl.errors import UserError, brief, printable

_JSON = (".jsonl", ".json")  # suffixes
_NAMES = (("image", "image_name", "filename", "file_name"), ("caption", "comment"))  # of columns
_OF_HUB = ("file_name", "text")  # the same in Hugging Face's metadata.csv
_NUMBERED = re.compile(r"#\d+$")  # which caption of an image, as Flickr8k's token.txt counts them


def captions(
    path: str,
    images: str | None = None,
    size: int | Size = 64,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    seed: int = 0,
    encoding: str = "utf-8",
    fit: Fit = "crop",
) -> dict[str, Table]:
    """Images and their captions, one row for each pair, split at random by images.

    The file is a table of comma- or tab-separated values whose header line has `image` and
    `caption`, as Flickr8k's captions.txt, or `image_name| comment`, as Flickr30k's results.csv;
    Flickr8k's token.txt; COCO's JSON; or JSON lines, {"image": "a.jpg", "caption": "…"}. A
    caption that contains a comma needs quotes unless its column is the last. An image may have
    several captions; all of them are in the same split, in the order of the file. Grey and
    transparent images are converted to RGB.

    Args:
      path: the file; .jsonl or .json for JSON, any other name for a table.
      images: the folder of the images; by default the folder of the file.
      size: side of a square in pixels, or (height, width).
      validation_fraction: share of the images for the validation split, rounded; 0 for none.
      test_fraction: share of the images for the test split, rounded; 0 for none.
      seed: seed of the random split.
      encoding: encoding of the file, as Python names it, such as 'cp1252'.
      fit: how an image is fitted to `size`: 'crop' covers it and takes the middle, 'squeeze'
        changes the ratio of the sides, 'pad' shows all of the image and makes the rest black.

    Returns:
      `image` (N, height, width, 3) uint8, and `caption` (N,) of str.

    Raises:
      UserError: the file or an image cannot be read, or a caption is empty; the message names
        the line.
    """
    frame = Frame.of(size, fit, "captions")
    file = Path(path).expanduser()
    folder = file.parent if images is None else Path(images).expanduser()
    if not folder.is_dir():
        raise UserError(f"captions: no folder {folder}; give the folder of the images")
    with user_files.reading("captions", file):
        pairs = [
            replace(pair, image=os.path.normpath(_found(folder, pair.image, str(file))))
            for pair in _pairs(file, encoding)
        ]
    names = list(dict.fromkeys(pair.image for pair in pairs))
    parts = partition(len(names), test_fraction, validation_fraction, seed, f"captions: {path}")
    # Checks the memory that the tables will take, where an image is repeated for each caption.
    room = pixels.room(len(pairs), (*frame.size, 3), f"captions: {path}")
    each_image = _read(file, folder, pairs, names, room[: len(names)], fit)
    number = {name: i for i, name in enumerate(names)}
    image = np.array([number[pair.image] for pair in pairs])
    caption = np.array([pair.caption for pair in pairs], dtype=object)
    return {
        role: Table({"image": each_image[image[rows]], "caption": caption[rows]}, f"{path} {role}")
        for role, part in parts.items()
        for rows in [np.flatnonzero(np.isin(image, part))]
    }


@dataclass
class _Row:
    """A line of JSON."""

    image: str
    caption: str


@dataclass
class _Document:
    """The parts of COCO's file of captions that are read."""

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]


@dataclass(frozen=True)
class _Pair:
    """A caption, the name of its image, and where in the file it is: its line, say."""

    image: str
    caption: str
    where: str


def captions_in(folder: Path) -> tuple[Path, str] | None:
    """The first file of captions in a folder or of COCO's in its `annotations`; its first image."""
    files = user_files.below(folder, (".txt", ".csv", ".tsv", *_JSON), deep=False)
    for file in (*files, *sorted(folder.glob("annotations/*captions*.json"))):
        if (image := first_image(file)) is not None:
            return file, image
    return None


def first_image(file: Path) -> str | None:
    """The image that a file of captions names first; None if it is no such file."""
    with suppress(UserError):
        for _, image, _ in _rows(file, "utf-8"):
            return image.strip()
    return None


def _pairs(file: Path, encoding: str) -> list[_Pair]:
    pairs = []
    for where, image, caption in _rows(file, encoding):
        for name, value in (("image", image), ("caption", caption)):
            if not value.strip():
                raise UserError(f"captions: {file} {where}: no {name}; correct or remove it")
        pairs.append(_Pair(image.strip(), " ".join(caption.split()), where))
    if not pairs:
        raise UserError(f"captions: {file} has no captions; it needs a header line and a row")
    return pairs


def _rows(file: Path, encoding: str) -> Iterator[tuple[str, str, str]]:
    """Where each caption is in the file, its image, and the caption."""
    text, is_json = user_files.read(file, "captions", encoding), file.suffix.lower() in _JSON
    if is_json and '"annotations"' in text and not has_records(text):
        return _annotations(text, file)
    return (_json_lines if is_json else _cells)(text, file)


def _cells(text: str, file: Path) -> Iterator[tuple[str, str, str]]:
    first = text.partition("\n")[0]
    delimiter = next((sign for sign in "\t|" if sign in first), ",")
    # In a table with tabs or strokes a quote is an ordinary character.
    rows = user_files.cells(text, delimiter, quotes=delimiter == ",", trim=False)
    is_numbered = bool(_NUMBERED.search(first.partition("\t")[0]))
    try:
        header = ["image", "caption"] if is_numbered else next(rows, (0, []))[1]
        image, caption = _columns(header, first)
        last = len(header) - 1
        for line, row in rows:
            if caption == last:
                row[last:] = [delimiter.join(row[last:])]
            if len(row) != len(header):
                raise UserError(
                    f"line {line} has {len(row)} cells, the header {len(header)}; correct the "
                    "line, or put cells that contain a comma in quotes"
                )
            name = _NUMBERED.sub("", row[image]) if is_numbered else row[image]
            yield f"line {line}", name, row[caption]
    except UserError as error:
        raise UserError(f"captions: {file} {error}") from None


def _columns(header: list[str], first: str) -> tuple[int, int]:
    """The places of the images and of the captions in a header."""
    plain = [name.strip().lower() for name in header]
    if all(plain.count(name) == 1 for name in _OF_HUB):
        return plain.index(_OF_HUB[0]), plain.index(_OF_HUB[1])
    places = [[i for i, name in enumerate(plain) if name in names] for names in _NAMES]
    if [len(each) for each in places] != [1, 1]:
        raise UserError(
            f"line 1: {first[:80]!r} is not a header with the columns image and caption, each "
            "once; add one"
        )
    return places[0][0], places[1][0]


def _json_lines(text: str, file: Path) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        remedy = 'write {"image": "…", "caption": "…"}, both text'
        row = json_files.parse(line, _Row, f"captions: {file} line {number}", remedy)
        yield f"line {number}", row["image"], row["caption"]


def _annotations(text: str, file: Path) -> Iterator[tuple[str, str, str]]:
    """The captions of COCO's file (Chen et al. 2015), whose annotations refer to its images."""
    remedy = "correct it, or name a file of captions in COCO's format"
    document = json_files.parse(text, _Document, f"captions: {file}", remedy)
    names = {brief(entry.get("id")): entry.get("file_name") for entry in document["images"]}
    for number, entry in enumerate(document["annotations"]):
        where, image = f"annotations[{number}]", names.get(brief(entry.get("image_id")))
        if not isinstance(image, str) or not isinstance(caption := entry.get("caption"), str):
            raise UserError(
                f"captions: {file} {where}: needs a caption, and the image_id of an image with a "
                "file_name; correct or remove it"
            )
        yield where, image, caption


def _found(folder: Path, name: str, where: str) -> str:
    """How an image is spelt that a caption names, in a folder or elsewhere on this machine."""
    if spelling := user_files.spelt(folder, name):
        return spelling
    if not os.path.isfile(folder / name):  # a path of another machine, or a name to complain of
        with suppress(UserError):
            return inside(name, where, folder)
    return name


def _read(
    file: Path,
    folder: Path,
    pairs: list[_Pair],
    names: list[str],
    room: UInt8[np.ndarray, "images height width 3"],
    fit: Fit,
) -> UInt8[np.ndarray, "images height width 3"]:
    """The images of these names, in `room`."""
    paths = [folder / name for name in names]
    where = {pair.image: pair.where for pair in reversed(pairs)}  # the first that names an image

    def shown(i: int) -> str:
        return printable(str(paths[i]), 300)

    pixels.decode(paths, room, lambda i: f"captions: {file} {where[names[i]]}: {shown(i)}", fit)
    return room

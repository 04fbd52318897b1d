"""What a folder or file of a user's is: the source that reads it, and the settings it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jaxdl.data import user_files
from jaxdl.data.images import pixels
from jaxdl.data.places import needs_folder, places_of
from jaxdl.data.recognition.arrays import recognize_arrays
from jaxdl.data.recognition.boxes import recognize_boxes
from jaxdl.data.recognition.captions import recognize_captions
from jaxdl.data.recognition.images import names_images, recognize_images, refuse_masks
from jaxdl.data.recognition.recognized import Recognized, named
from jaxdl.data.recognition.table import Kind, recognize_table
from jaxdl.data.recognition.texts import (
    looks_like_a_table,
    recognize_text,
    recognize_text_folders,
    recognize_tunes,
    texts_of_classes,
)
from jaxdl.data.recognition.unread import otherwise, refuse_tools, why_unread
from jaxdl.data.sources.captions import first_image
from jaxdl.data.sources.csv_boxes import usual_tables
from jaxdl.data.sources.image_finder import ImageFinder
from jaxdl.data.sources.json_lines import has_records
from jaxdl.data.sources.label_tables import read_labels
from jaxdl.data.sources.sheet import TABLES
from jaxdl.data.splits import ROLES, by_role
from jaxdl.errors import UserError
from jaxdl.remote import local_path


def recognize(path: str, target: str | None = None, kind: Kind | None = None) -> Recognized:
    """Read what a path names, by the source for it.

    Args:
      path: of a folder of images or texts in folders by class, or of images with a table of their
        classes or captions; of boxes in COCO's, YOLO's or Pascal VOC's format or in tables; of
        texts, tunes (.abc), or tables; or a table (.csv, .tsv, .parquet, .jsonl, .json), arrays
        (.npz), a YOLO description (.yaml), a text, or a pattern of texts; or an address of one.
      target: of a table, the column to predict, or that of the classes of images.
      kind: of that column, what it holds; by default names, and a few whole numbers, are classes.

    Raises:
      UserError: nothing is there, or its source refuses it.
    """
    here = local_path(path, with_folder=needs_folder("yolo", path, {}))
    found = _recognize(here, target, kind)
    if here == path:
        return found
    address = path.rstrip("/")
    settings = {
        name: address + value.removeprefix(here)
        if name in places_of(found.source) and value is not None
        else value
        for name, value in found.settings.items()
    }
    return replace(found, settings=settings)


def _recognize(path: str, target: str | None, kind: Kind | None) -> Recognized:
    """The same of a path of this machine."""
    place = Path(path).expanduser()
    if (only := _all_of(place)) is not None:
        return _recognize(str(Path(path, only.name)), target, kind)
    if not place.exists() and not set("*?[") & set(path):
        raise UserError(f"{path}: no such file or folder; name your data")
    tables, beside = _tables_at(place)
    if tables:
        within = place not in tables.values()
        paths = {r: str(Path(path, table.name)) if within else path for r, table in tables.items()}
        return recognize_table(paths, target, kind, beside)
    labelled = place.is_dir() and user_files.below(place, TABLES, deep=False)
    if kind or (target and not labelled):
        raise UserError(f"{path}: is not a table; leave --target and --kind out")
    if (found := recognize_boxes(path, place)) is not None:
        return found
    return _in_folder(path, place, target) if place.is_dir() else _in_file(path, place)


def _all_of(place: Path) -> Path | None:
    """The folder or file that is all there is in a folder, as many archives are unpacked."""
    inner = user_files.only_folder(place)
    if inner is not None and inner.name.lower() not in ROLES:
        return inner
    only = user_files.only_file(place)
    return only if only and only.suffix.lower() not in pixels.SUFFIXES else None


def _in_folder(path: str, place: Path, target: str | None) -> Recognized:
    """What most files of a folder are: images, texts or tunes."""
    pictures, texts, tunes = (
        user_files.below(place, suffixes) for suffixes in (pixels.SUFFIXES, (".txt",), (".abc",))
    )
    refuse_masks(path, place, pictures)
    if pictures and not target and (found := recognize_captions(path, place, pictures)):
        return found
    if texts and {file.stem for file in texts} <= {file.stem for file in pictures}:
        raise UserError(
            f"{path}: its texts have the names of its images; if they are YOLO's labels, list "
            "the classes in classes.txt, one per line; if captions, put all in one file"
        )
    if len(tunes) > max(len(pictures), len(texts)):
        return recognize_tunes(path)
    if texts_of_classes(place) > len(pictures):
        return recognize_text_folders(path)
    if not pictures and not texts and (unread := user_files.below(place)):
        raise UserError(f"{path}: {why_unread(path, place, unread)}")
    if len(pictures) < len(texts):
        return recognize_text(path)
    refuse_tools(path, place, ".csv")
    try:
        return recognize_images(path, place, pictures, texts, target)
    except UserError:
        for suffix in (".json", ".xml"):
            refuse_tools(path, place, suffix)
        raise


def _in_file(path: str, place: Path) -> Recognized:
    """Tunes, arrays or a text, or a pattern of them."""
    suffix = place.suffix.lower()
    if suffix == ".json":
        raise UserError(
            f"{path}: is no list of rows, [{{…}}, …]; if it has the annotations of images, name "
            "the folder that has both"
        )
    if suffix == ".abc":
        return recognize_tunes(path)
    if suffix == ".npz":
        return recognize_arrays(path)
    if remedy := otherwise(place):
        raise UserError(f"{path}: {remedy}")
    if suffix == ".txt" and place.is_file() and first_image(place) is not None:
        raise UserError(f"{path}: has captions; name the folder that has it and the images")
    if place.is_file() and looks_like_a_table(place):
        raise UserError(
            f"{path}: every line has the same number of tabs, commas or semicolons; if it is a "
            "table, add a header line and rename it to .tsv or .csv"
        )
    return recognize_text(path)


def _tables_at(place: Path) -> tuple[dict[str, Path], list[str]]:
    """The table that a path is, or those in a folder without anything else to read.

    Returns:
      The tables by role, and the names of further ones that are of no split.
    """
    if place.suffix.lower() in TABLES and place.is_file():
        return {"train": place}, []
    if place.suffix.lower() == ".json" and place.is_file():
        return {"train": place} if has_records(user_files.read(place, "csv")) else {}, []
    if not place.is_dir():
        return {}, []
    entries = [entry for entry in place.iterdir() if user_files.is_data(entry.name)]
    tables = sorted(entry for entry in entries if entry.suffix.lower() in TABLES)
    if not tables or any(entry.is_dir() for entry in entries) or _are_of_images(place, tables):
        return {}, []
    if len(tables) == 1:
        return {"train": tables[0]}, []
    roles = by_role(tables, place)
    if "train" not in roles:
        raise UserError(
            f"{place}: has {len(tables)} tables, {named([table.name for table in tables])}; name "
            "the one to learn from, of which a part is held out, or call them train and test"
        )
    return roles, [table.name for table in tables if table not in roles.values()]


def _are_of_images(place: Path, tables: Sequence[Path]) -> bool:
    """Whether one of some tables is of boxes or classes of images beside it."""
    find = ImageFinder(place)
    if not find.images:
        return False
    return bool(usual_tables(place)) or any(names_images(find, read_labels(t)) for t in tables)

"""Images in folders, one folder a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np

from jaxdl.data import pixels
from jaxdl.data.splits import require_fractions
from jaxdl.data.table import Table
from jaxdl.errors import UserError

# What a split's folder may be called.
_ROLES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation",
          "test": "test"}  # fmt: skip
_Labelled = list[tuple[Path, str]]  # images and their classes


def images(
    path: str,
    size: int,
    channels: int = 3,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
) -> dict[str, Table]:
    """Images in `path/train/CLASS/…`, `path/test/CLASS/…`, `path/val/CLASS/…`, or `path/CLASS/…`.

    Without folders for the splits an image belongs to one by a hash of its class and file name, so
    it stays there when others are added. Classes are numbered in alphabetical order. Images are
    scaled to cover a square, the middle of which is kept; of an animation, the first frame counts.

    Args:
      path: the folder.
      size: side of the square, in pixels.
      channels: 3 for colour, 1 for grey, 4 for colour and transparency.
      test_fraction: expected share of the test split; 0 for none. Only for `path/CLASS/…`.
      validation_fraction: the same of the validation split.

    Returns:
      `image` (N, size, size, channels) uint8, and `label` (N,) int32; `Table.classes` are the
      folders' names.

    Raises:
      UserError: no such folder, no class, a class with no image, or a file that is no sound image.
    """
    root = Path(path).expanduser()
    if size < 1:
        raise UserError(f"images: size={size}; an image has at least 1 pixel a side")
    if channels not in (1, 3, 4):
        raise UserError(f"images: channels={channels}; 1 is grey, 3 colour, 4 with transparency")
    require_fractions("images", test_fraction, validation_fraction)
    splits = _by_folder(root) or _by_hash(root, test_fraction, validation_fraction)
    classes = tuple(sorted({name for _, name in splits["train"]}))
    _require_examples(splits, classes, root)
    return {
        role: _read(root, role, files, classes, size, channels) for role, files in splits.items()
    }


def _by_folder(root: Path) -> dict[str, _Labelled]:
    """The splits that have a folder each, by role; none where the folders are classes."""
    folders = _visible(root, Path.is_dir)
    named = [folder for folder in folders if folder.name in _ROLES]
    if "train" not in {folder.name for folder in named}:
        return {}
    if len(named) < len(folders):
        stranger = next(folder for folder in folders if folder not in named)
        raise UserError(
            f"images: {stranger} stands beside {root / 'train'}; either all folders are splits "
            f"({', '.join(_ROLES)}) or all are classes"
        )
    splits: dict[str, _Labelled] = {}
    for folder in named:
        role = _ROLES[folder.name]
        if role in splits:
            raise UserError(f"images: {folder} is a second {role} split; keep one")
        splits[role] = _labelled(folder)
    return splits


def _by_hash(root: Path, test: float, validation: float) -> dict[str, _Labelled]:
    wanted = {"train": True, "validation": validation > 0, "test": test > 0}
    splits: dict[str, _Labelled] = {role: [] for role, is_wanted in wanted.items() if is_wanted}
    for file, name in _labelled(root):
        digest = sha256(f"{name}/{file.name}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64  # uniform in [0, 1)
        role = "test" if place < test else "validation" if place < test + validation else "train"
        splits[role].append((file, name))
    return splits


def _labelled(folder: Path) -> _Labelled:
    """The files in the class folders of `folder`, in alphabetical order."""
    for stray in _visible(folder, Path.is_file):
        if stray.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif"):
            raise UserError(f"images: {stray} is in no class; move it to the folder of its class")
    classes = _visible(folder, Path.is_dir)
    if not classes:
        raise UserError(f"images: {folder} has no folders; each class needs one with its images")
    labelled = []
    for each in classes:
        inside = _visible(each, lambda entry: True)
        if not inside:
            raise UserError(f"images: {each} is empty; each class needs an image, or remove it")
        for file in inside:
            if file.is_dir():
                raise UserError(f"images: {file} is a folder where an image is expected; move it")
            labelled.append((file, each.name))
    return labelled


def _visible(folder: Path, kind: Callable[[Path], bool]) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"images: no folder {folder}; give one with a folder for each class")
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and kind(p))


def _require_examples(splits: dict[str, _Labelled], classes: tuple[str, ...], root: Path) -> None:
    for role, files in splits.items():
        if not files:
            raise UserError(
                f"images: no image of {root} falls into the {role} split; raise its fraction, set "
                "it to 0, or add images"
            )
        for name, count in Counter(name for _, name in files).items():
            if name not in classes:
                raise UserError(
                    f"images: class {name!r} has {count} images in the {role} split and none in "
                    f"the train split ({root}); add some there"
                )


def _read(
    root: Path, role: str, files: _Labelled, classes: tuple[str, ...], size: int, channels: int
) -> Table:
    number = {name: i for i, name in enumerate(classes)}
    image = pixels.room(len(files), (size, size, channels), f"images: {root}")
    paths = [file for file, _ in files]
    pixels.decode(paths, image, lambda i: f"images: {paths[i]}", resize=True)
    label = np.array([number[name] for _, name in files], np.int32)
    return Table({"image": image, "label": label}, f"{root} {role}", classes)

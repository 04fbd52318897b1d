"""What is said of files that are read otherwise, or not at all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jaxdl.data import user_files
from jaxdl.data.sources.sheet import TABLES
from jaxdl.errors import UserError, brief

_PACKED = "is packed; unpack it"
_SPREADSHEET = "is a spreadsheet; save it as CSV, in UTF-8"
_ARRAY = "is one array; save it and its labels by numpy.savez(path, image=…, label=…)"
_OTHER_ARRAYS = "is not read; save its arrays by numpy.savez, or a table as Parquet or CSV"
_SOUND = "is sound, which is not read; music is read in ABC notation, or as piano rolls in a .npz"
_VIDEO = "is a video; save its frames as images, in a folder for each class"
_SPARSE = "has sparse rows; save them as CSV, or by numpy.savez(path, features=…, label=…)"
_OF_MNIST = (
    "is in MNIST's format: MNIST itself is a data set of TFDS (config.data.source=tfds, "
    "config.data.dataset=mnist); save others by numpy.savez(path, image=…, label=…)"
)
_IDX = re.compile(r"[.-]idx[1-4]-ubyte(\.gz)?$")
_PICKLED = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))  # how pickles begin
_PHOTO = "is of a format that is not read; save it as JPEG or PNG"
_DOCUMENT = "is a document; save it as text, .txt in UTF-8"
_OTHERS = {  # suffixes of what is read otherwise, or not at all
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z", ".rar"), _PACKED),
    **dict.fromkeys((".xls", ".xlsx", ".xlsm", ".ods", ".numbers"), _SPREADSHEET),
    ".npy": _ARRAY,
    ".arrow": "is Arrow; set config.data.source=huggingface and config.data.path to it",
    **dict.fromkeys((".feather", ".h5", ".hdf5", ".mat", ".pt", ".tfrecord"), _OTHER_ARRAYS),
    **dict.fromkeys((".mid", ".midi", ".mp3", ".wav", ".flac", ".ogg"), _SOUND),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm"), _VIDEO),
    **dict.fromkeys((".pdf", ".docx", ".doc", ".odt", ".epub", ".rtf"), _DOCUMENT),
    **dict.fromkeys((".libsvm", ".svm", ".svmlight"), _SPARSE),
    **dict.fromkeys((".heic", ".heif", ".avif", ".jp2", ".psd", ".svg"), _PHOTO),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".dcm"), _PHOTO),
    ".arff": "is ARFF; save it as CSV, whose first line names the columns",
    ".pkl": "is a pickle, which runs code; save its arrays by numpy.savez, or a table as CSV",
}


# Texts that only the annotations of a tool have -> the tool.
_TOOLS = {
    ('"shapes"', '"imagePath"'): "labelme",
    ("_via_img_metadata",): "VIA",
    ('"region_attributes"',): "VIA",
    ("region_shape_attributes",): "VIA",
    ('"image"', '"annotations"', '"coordinates"', '"label"'): "CreateML",
    ('"original_width"', '"from_name"'): "Label Studio",
    ('"classTitle"',): "Supervisely",
    ("<annotations>", "<image "): "CVAT",
}
_HEAD = 100_000  # bytes of annotations, that are looked at


def refuse_tools(path: str, place: Path, suffix: str) -> None:
    """Refuse images if the first file of a suffix has annotations in a format of a tool's own."""
    for file in user_files.below(place, (suffix,))[:1]:
        with user_files.opened(file) as stream:
            head = stream.read(_HEAD).decode("utf-8", "replace")
        for marks, tool in _TOOLS.items():
            if all(mark in head for mark in marks):
                raise UserError(
                    f"{path}: {brief(str(file.relative_to(place)))} has annotations in {tool}'s "
                    "own format, which is not read; export them there as COCO, YOLO or Pascal VOC"
                )


def otherwise(file: Path) -> str | None:
    """How a file is read that is not read as it is; None if this is not known."""
    if _IDX.search(file.name):
        return _OF_MNIST
    if remedy := _OTHERS.get(file.suffix.lower()):
        return remedy
    if not file.is_file():
        return None
    with user_files.opened(file) as stream:
        return _OTHERS[".pkl"] if stream.read(2) in _PICKLED else None


def why_unread(path: str, place: Path, files: Sequence[Path]) -> str:
    """What is said of a folder whose files are neither images nor texts."""
    usual = Counter(file.suffix for file in files).most_common(1)[0][0]
    first = next(file for file in files if file.suffix == usual)
    if remedy := otherwise(first):
        return f"{brief(str(first.relative_to(place)))} {remedy}"
    if usual.lower() == ".npz":
        return (
            "has several archives; name one, or set config.data.source=arrays, and "
            "config.data.train and config.data.test to the paths of two"
        )
    if usual.lower() in TABLES:
        return (
            f"has tables in folders, such as {brief(str(first.relative_to(place)))}; name one, or, "
            "if they hold images, set config.data.source=huggingface and config.data.path to this"
        )
    return (
        "has neither images nor .txt files; for other texts, give a pattern, such as "
        f"'{path}/*{usual or '.md'}'"
    )

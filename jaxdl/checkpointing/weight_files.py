"""Weight files as others write them: name -> array. Nothing in them is ever executed.

`.safetensors`, and what `torch.save` writes (`.pth`, `.pt`, `.bin`): raw storages, and a pickle
that says how the tensors lie in them. Both are in a zip archive, or, before PyTorch 1.6, one after
the other. `jaxdl.checkpointing.torch_pickle` interprets the pickle. A stranger's file may claim any
sizes and overlaps, so nothing is read or allocated before it is known to be in proportion to the
file.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from jaxdl.checkpointing.torch_pickle import (
    Budget,
    ReadStorage,
    Refused,
    Storage,
    Tensor,
    brief,
    interpret,
    refuse_opaque,
)
from jaxdl.errors import UserError
from jaxdl.files import sha256_of

_SAFETENSORS: dict[str, Any] = {
    "BF16": ml_dtypes.bfloat16,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began before 1.6
_LEGACY_PICKLES = 5  # that number, the version, the machine, the tensors, the keys of the storages
# Where checkpoints keep their weights; the first that there is counts.
_NESTED = ("state_dict", "model", "model_state_dict", "net", "network", "weights", "module",
           "ema", "model_ema", "state_dict_ema", "ema_state_dict", "params")  # fmt: skip
_WRAPPERS = ("module.", "_orig_mod.")  # of data-parallel training and of torch.compile
# Of torch.compile, FSDP, activation checkpointing and Fabric, wherever they stand in a name.
_INNER = re.compile(
    r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
_POINTER = b"version https://git-lfs"
_HEAD = 1 << 26  # bytes of the pickles that begin a file from before 1.6
_REPEATS = 32  # files that all tensors make, where some share their numbers, as tied layers do
_MEMBER_HEADER = 30  # bytes at least, before the content of each member of a zip archive
_DOWNLOAD = "download it again"
# The first digits of a file's SHA-256 at the end of its name, as in torchvision's
# resnet18-f37072fd.pth (torch.hub, `check_hash`), or all of them. Digits without a letter may be a
# date or a step, and a few with another suffix a commit.
_PUBLISHED = re.compile(r"-(?=\d*[a-f])([0-9a-f]{8,64}(?=\.pth?$)|[0-9a-f]{64}(?=\.))")


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a weight file by name, as NumPy arrays; tied weights stay shared.

    Of a checkpoint that holds more (`{'state_dict': …, 'args': …}`), the weights alone. What
    PyTorch's wrappers put before every name, such as `module.`, or into it, such as `_orig_mod.`,
    is removed. The suffix does not matter: what the file begins with says which of the two it is.

    Raises:
      UserError: the file does not exist, is damaged or not what the SHA-256 in its name says, has
        another format, or holds anything but tensors, numbers and texts.
    """
    path = Path(path)
    kind = "weight file"
    try:
        path = path.expanduser()
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{path}: not a regular file; copy its content into one")
        kind, reader = _kind(path)
        _check_published(path)
        tensors = reader(path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or brief(error)})") from None
    except Refused as error:
        raise UserError(f"{path}: {error}; {error.remedy}") from None
    except MemoryError:
        raise UserError(f"{path}: needs more memory than is free; free some") from None
    except Exception as error:  # three libraries raise many types for damaged bytes
        raise UserError(
            f"{path}: damaged, or not a {kind}: cannot be parsed ({brief(error)}); {_DOWNLOAD}"
        ) from None
    plain = {_INNER.sub("", name): array for name, array in tensors.items()}
    tensors = plain if len(plain) == len(tensors) else tensors
    while tensors and (prefix := _wrapper(tensors)):
        tensors = {name.removeprefix(prefix): array for name, array in tensors.items()}
    return tensors


def _check_published(path: Path) -> None:
    """Refuse a file that is not what the digits in its name say, such as half of a download."""
    name = _PUBLISHED.search(path.name)
    if name and not (actual := sha256_of(path)).startswith(name[1]):
        raise UserError(
            f"{path}: its SHA-256 begins with {actual[: len(name[1])]}, not with {name[1]} as its "
            f"name says; {_DOWNLOAD}, or rename it if these digits mean something else"
        )


def _wrapper(names: Iterable[str]) -> str | None:
    """The prefix of a wrapper that all names have."""
    return next((p for p in _WRAPPERS if all(name.startswith(p) for name in names)), None)


def _kind(path: Path) -> tuple[str, Callable[[Path], dict[str, np.ndarray]]]:
    """The name of a file's kind, and its reader, by its first bytes or else its suffix."""
    with open(path, "rb") as file:
        head = file.read(len(_POINTER))
    if head == _POINTER:
        raise UserError(f"{path}: is a Git LFS pointer; fetch the file with git lfs pull")
    torch, safetensors = ("torch.save file", _torch), ("safetensors file", _safetensors)
    if head.startswith((b"PK", _LEGACY)):
        return torch
    if head[8:9] == b"{":  # after the length of its JSON
        return safetensors
    suffixes = {".safetensors": safetensors, ".pth": torch, ".pt": torch, ".bin": torch}
    if path.suffix not in suffixes:
        raise UserError(
            f"{path}: not a weight file; they end in {', '.join(suffixes)}, or begin as those do"
        )
    return suffixes[path.suffix]


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import deserialize

    entries = deserialize(path.read_bytes())  # checks sizes and overlaps
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS:
            raise UserError(
                f"{path}: {brief(name)} is of type {entry['dtype']}, which is not supported; "
                f"save it as one of {', '.join(_SAFETENSORS)}"
            )
    return {
        name: np.frombuffer(entry["data"], _SAFETENSORS[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in entries
    }


def _torch(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        legacy = file.read(len(_LEGACY)) == _LEGACY
        file.seek(0)
        value, read_storage = (_read_legacy if legacy else _read_archive)(file, size)
        tensors = _weights(value)
        if sum(tensor.nbytes for tensor in tensors.values()) > _REPEATS * size:
            raise Refused(f"its tensors repeat each other: they are {_REPEATS} times the file")
        once = functools.cache(read_storage)
        return {name: tensor.array(once) for name, tensor in tensors.items()}


def _read_archive(file: BinaryIO, size: int) -> tuple[Any, ReadStorage]:
    """The value of an archive's pickle, and a function that reads the bytes of a storage."""
    archive = zipfile.ZipFile(file)
    members = _members(archive, size)
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        if members and all(name.endswith(".npy") for name in members):
            raise Refused("is an archive of NumPy's", "dict(numpy.load(file))", "numpy")
        raise Refused("a zip file, but not of torch.save (no data.pkl)")
    root = pickles[0].removesuffix("data.pkl")
    for name, entry in members.items():
        if root == "/" or ".." in name.split("/") or not name.startswith(root):
            raise Refused(f"holds '{brief(name)}', which torch.save does not write")
        if entry.compress_type != zipfile.ZIP_STORED:  # torch never compresses; zip bombs do
            raise Refused(f"'{brief(name)}' is compressed, which torch.save never does")
    members = {name.removeprefix(root): entry for name, entry in members.items()}
    if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
        raise Refused("written by a big-endian machine")

    def check_size(storage: Storage) -> None:
        if f"data/{storage.key}" not in members:
            raise Refused(f"storage '{storage.key}' is missing")
        _check_bytes(storage, members[f"data/{storage.key}"].file_size)

    value = interpret(io.BytesIO(archive.read(members["data.pkl"])), check_size, Budget())
    return value, lambda storage: archive.read(members[f"data/{storage.key}"])


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by name, checked: no name twice, and no bytes shared."""
    members = {entry.filename: entry for entry in archive.infolist()}
    if archive.comment or len(members) != len(archive.infolist()):
        raise Refused("a zip file with a comment or twice the same name; torch.save has neither")
    end = 0
    for entry in sorted(members.values(), key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise Refused("a zip file whose members overlap, which torch.save does not write")
        end = entry.header_offset + _MEMBER_HEADER + entry.compress_size
        if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size != entry.file_size:
            raise Refused(f"'{brief(entry.filename)}' has two sizes")
    if end > size:
        raise Refused("a zip file whose members are larger than the file")
    return members


def _read_legacy(file: BinaryIO, size: int) -> tuple[Any, ReadStorage]:
    """The same of a file from before PyTorch 1.6: pickles, then each storage after its length."""
    declared: dict[str, Storage] = {}

    def check_size(storage: Storage) -> None:
        if storage.nbytes > size:
            raise Refused(f"storage {storage.key} has {storage.count} numbers, more than the file")
        if declared.setdefault(storage.key, storage) != storage:
            raise Refused(f"storage {storage.key} is named twice, with different types or sizes")

    head, budget = io.BytesIO(file.read(min(_HEAD, size))), Budget()
    _, _, machine, value, keys = (
        interpret(head, check_size, budget) for _ in range(_LEGACY_PICKLES)
    )
    for part in (machine, value, keys):
        refuse_opaque(part)
    if not machine.get("little_endian", True):
        raise Refused("written by a big-endian machine")
    starts: dict[str, int] = {}
    end = head.tell()
    for key in keys:
        if type(key) is not str or key not in declared or key in starts:
            raise Refused("holds a storage twice, or one that no tensor uses")
        file.seek(end)
        count = int.from_bytes(file.read(8), "little")
        if count != declared[key].count:
            raise Refused(f"storage {key} has {count} numbers, not {declared[key].count}")
        starts[key], end = end + 8, end + 8 + declared[key].nbytes
        _check_bytes(declared[key], max(0, min(end, size) - starts[key]))

    def read_storage(storage: Storage) -> bytes:
        if storage.key not in starts:
            raise Refused(f"storage '{storage.key}' is missing")
        file.seek(starts[storage.key])
        return file.read(storage.nbytes)

    return value, read_storage


def _check_bytes(storage: Storage, nbytes: int) -> None:
    if nbytes != storage.nbytes:
        raise Refused(f"storage {storage.key} has {nbytes} bytes, not {storage.nbytes}")


def _weights(value: Any) -> dict[str, Tensor]:
    """The dict of tensors in a file: at the top, under one of the usual names, or the only one.

    What is no tensor in it, such as the number of a step, is passed over.
    """
    nested = [value.get(name) for name in _NESTED] if isinstance(value, dict) else []
    for candidate in (value, *nested):
        if _is_tensors(candidate):
            return candidate
    below = _dicts(value)
    if len(below) > 1:
        shown = ", ".join(map(brief, below))[:200]
        one = f"torch.load(file)[{brief(next(iter(below)))!r}]"
        raise Refused(f"holds several dicts of tensors: {shown}", one)
    if below:
        return next(iter(below.values()))
    for candidate in (value, *nested):
        if isinstance(candidate, dict):
            items = candidate.items()
            if tensors := {k: v for k, v in items if isinstance(k, str) and isinstance(v, Tensor)}:
                return tensors
    refuse_opaque(value)
    if isinstance(value, dict):
        for candidate in (*nested, *value.values()):
            refuse_opaque(candidate)
    names = map(brief, itertools.islice(value, 8)) if isinstance(value, dict) else []
    content = ", ".join(names) or type(value).__name__.strip("_").lower()
    raise Refused(f"holds no dict of tensors by name, but {content[:200]}")


def _is_tensors(value: Any) -> bool:
    """Whether a value is a dict of tensors by name."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _dicts(value: Any) -> dict[str, dict[str, Tensor]]:
    """The dicts of tensors in a dict and in the dicts in it.

    Each is looked at once, however often it is in there: a stranger's file may repeat itself.
    """
    found: dict[str, dict[str, Tensor]] = {}
    seen: set[int] = set()
    level = [("", value)] if isinstance(value, dict) else []
    for _ in range(2):
        below = []
        for name, parent in level:
            for key, each in parent.items():
                if isinstance(each, dict) and id(each) not in seen:
                    seen.add(id(each))
                    below.append((f"{name}{key}", each))
        found |= {name: each for name, each in below if _is_tensors(each)}
        level = [(f"{name}.", each) for name, each in below]
    return found

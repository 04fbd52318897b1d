"""Weight files as others write them: name -> array. Nothing in them is ever executed.

`.safetensors`, and what `torch.save` writes (`.pth`, `.pt`, `.bin`): raw storages and a pickle,
which says how tensors lie in them, in a zip archive, or before PyTorch 1.6 one after the other. A
pickle is a program. This one is not run: it is read opcode by opcode, and what a file of tensors
does not need is refused. A file says what it likes: how large its parts are, how they overlap, how
deep they nest. So nothing is read or made before it is known to be in proportion to the file.
"""

from __future__ import annotations

import functools
import io
import itertools
import math
import os
import pickletools
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from jaxdl.errors import UserError

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
_STORAGES: dict[str, Any] = {
    "BFloat16Storage": ml_dtypes.bfloat16,
    "HalfStorage": np.float16,
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "CharStorage": np.int8,
    "ShortStorage": np.int16,
    "IntStorage": np.int32,
    "LongStorage": np.int64,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began before 1.6
_LEGACY_PICKLES = 5  # that number, the version, the machine, the tensors, the keys of the storages
_NESTED = ("state_dict", "model", "model_state_dict")  # where checkpoints keep their weights
_STEPS = 1 << 21  # in the pickles of a file: 60,000 tensors, or some ten seconds and 300 MiB
_HEAD = 1 << 26  # bytes of the pickles that begin a file from before 1.6
_REPEATS = 32  # files that all tensors make, where some share their numbers, as tied layers do
_AXES = 64  # NumPy's limit
_LONGEST_KEY = 1000  # characters
_MEMBER_HEADER = 30  # bytes at least, before the content of each member of a zip archive
_CONVERT = (
    "convert it where you trust it: safetensors.torch.save_file(torch.load(file), "
    "'file.safetensors')"
)
_AGAIN = "get it anew"


class _Refused(Exception):
    """What a file of tensors does not need."""


class _Budget:
    """The steps that the pickles of one file may still take."""

    def __init__(self) -> None:
        self._left = _STEPS

    def spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise _Refused(f"its pickle takes more than {_STEPS:,} steps")


@dataclass(frozen=True)
class _Storage:
    """Numbers in a row somewhere in the file. Only `_stored` makes one, which checks its size."""

    key: str
    dtype: np.dtype
    count: int

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor's numbers lie in a storage. Only `_tensor` makes one, within its bounds."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def array(self, content: Content) -> np.ndarray:
        """Its numbers, as a view of the storage's."""
        dtype = self.storage.dtype
        if not self.nbytes:
            return np.empty(self.shape, dtype)
        steps = tuple(stride * dtype.itemsize for stride in self.strides)
        start = self.offset * dtype.itemsize  # NumPy checks the bounds, too
        return np.ndarray(self.shape, dtype, content(self.storage), start, steps)


Fits = Callable[[_Storage], None]  # refuses a storage that is larger than what the file holds
Content = Callable[[_Storage], bytes]  # reads it


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a weight file, by name; arrays that share numbers in the file share them here.

    Of a checkpoint that holds more (`{'state_dict': …, 'epoch': 90}`), the weights; and without
    the `module.` that data-parallel training puts before every name.

    Raises:
      UserError: no such file, a format that is not read, a damaged file, or one that holds
        anything but tensors, numbers and texts.
    """
    path = Path(path)
    torch, safetensors = ("file of torch.save", _torch), ("safetensors file", _safetensors)
    kinds = {".safetensors": safetensors, ".pth": torch, ".pt": torch, ".bin": torch}
    if path.suffix not in kinds:
        raise UserError(f"{path}: not a weight file; they end in {', '.join(kinds)}")
    kind, reader = kinds[path.suffix]
    try:
        path = path.expanduser()
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{path}: not a regular file; copy what it holds into one")
        tensors = reader(path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or _brief(error)})") from None
    except _Refused as error:
        raise UserError(f"{path}: {error}; {_CONVERT}") from None
    except MemoryError:
        raise UserError(f"{path}: needs more memory than there is; free some") from None
    except Exception as error:  # whatever the bytes of a stranger make of three libraries
        raise UserError(
            f"{path}: damaged, or no {kind}: it makes no sense ({_brief(error)}); {_AGAIN}"
        ) from None
    if tensors and all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): array for name, array in tensors.items()}
    return tensors


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import deserialize

    entries = deserialize(path.read_bytes())  # checks that sizes are right and nothing overlaps
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS:
            raise UserError(
                f"{path}: {_brief(name)} is of type {entry['dtype']}, which is not read; save it "
                f"as one of {', '.join(_SAFETENSORS)}"
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
        value, content = (_legacy_contents if legacy else _contents)(file, size)
        tensors = _weights(value)
        if sum(tensor.nbytes for tensor in tensors.values()) > _REPEATS * size:
            raise _Refused(f"its tensors repeat each other: they are {_REPEATS} times the file")
        once = functools.cache(content)
        return {name: tensor.array(once) for name, tensor in tensors.items()}


def _contents(file: BinaryIO, size: int) -> tuple[Any, Content]:
    """What the pickle of an archive stands for, and what reads the bytes of a storage."""
    archive = zipfile.ZipFile(file)
    members = _members(archive, size)
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _Refused("a zip file, but not of torch.save (no data.pkl)")
    root = pickles[0].removesuffix("data.pkl")
    for name, entry in members.items():
        if root == "/" or ".." in name.split("/") or not name.startswith(root):
            raise _Refused(f"holds '{_brief(name)}', which torch.save does not write")
        if entry.compress_type != zipfile.ZIP_STORED:  # torch compresses nothing; bombs do
            raise _Refused(f"'{_brief(name)}' is compressed, which torch.save does not do")
    members = {name.removeprefix(root): entry for name, entry in members.items()}
    if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
        raise _Refused("written by a big-endian machine")

    def fits(storage: _Storage) -> None:
        if f"data/{storage.key}" not in members:
            raise _Refused(f"storage '{storage.key}' is missing")
        _check_size(storage, members[f"data/{storage.key}"].file_size)

    value = _interpret(io.BytesIO(archive.read(members["data.pkl"])), fits, _Budget())
    return value, lambda storage: archive.read(members[f"data/{storage.key}"])


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by name, each once, and each with bytes of the file of its own."""
    members = {entry.filename: entry for entry in archive.infolist()}
    if archive.comment or len(members) != len(archive.infolist()):
        raise _Refused("a zip file with a comment or twice the same name, unlike torch.save's")
    end = 0
    for entry in sorted(members.values(), key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise _Refused("a zip file whose members overlap, which torch.save does not write")
        end = entry.header_offset + _MEMBER_HEADER + entry.compress_size
        if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size != entry.file_size:
            raise _Refused(f"'{_brief(entry.filename)}' has two sizes")
    if end > size:
        raise _Refused("a zip file whose members are larger than the file")
    return members


def _legacy_contents(file: BinaryIO, size: int) -> tuple[Any, Content]:
    """The same of a file from before PyTorch 1.6: pickles, then each storage after its length."""
    declared: dict[str, _Storage] = {}

    def fits(storage: _Storage) -> None:
        if storage.nbytes > size:
            raise _Refused(f"storage {storage.key} has {storage.count} numbers, more than the file")
        if declared.setdefault(storage.key, storage) != storage:
            raise _Refused(f"storage {storage.key} is named twice, and not as the same")

    head, budget = io.BytesIO(file.read(min(_HEAD, size))), _Budget()
    _, _, machine, value, keys = (_interpret(head, fits, budget) for _ in range(_LEGACY_PICKLES))
    if not machine.get("little_endian", True):
        raise _Refused("written by a big-endian machine")
    starts: dict[str, int] = {}
    end = head.tell()
    for key in keys:
        if type(key) is not str or key not in declared or key in starts:
            raise _Refused("holds a storage twice, or one of no tensor")
        file.seek(end)
        count = int.from_bytes(file.read(8), "little")
        if count != declared[key].count:
            raise _Refused(f"storage {key} has {count} numbers, not {declared[key].count}")
        starts[key], end = end + 8, end + 8 + declared[key].nbytes
        _check_size(declared[key], max(0, min(end, size) - starts[key]))

    def content(storage: _Storage) -> bytes:
        if storage.key not in starts:
            raise _Refused(f"storage '{storage.key}' is missing")
        file.seek(starts[storage.key])
        return file.read(storage.nbytes)

    return value, content


def _check_size(storage: _Storage, nbytes: int) -> None:
    if nbytes != storage.nbytes:
        raise _Refused(f"storage {storage.key} has {nbytes} bytes, not {storage.nbytes}")


def _interpret(program: io.BytesIO, fits: Fits, budget: _Budget) -> Any:
    """What the next pickle of a file of tensors stands for.

    Only `_GLOBALS` can be called, and all that they do is make dicts, tuples and tensors. Each
    opcode costs a step, and each value that is passed to a call, so that time and memory are
    bounded, whatever a pickle repeats.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def taken(count: int | None = None) -> list[Any]:
        """The last `count` values of the stack, or those since the last mark."""
        start = marks.pop() if count is None else len(stack) - count
        if not 0 <= start <= len(stack):
            raise IndexError("the stack is empty")
        values = stack[start:]
        del stack[start:]
        return values

    argument: Any
    for opcode, argument, _ in pickletools.genops(program):
        budget.spend(1)
        match opcode.name:
            case "PROTO":
                pass
            case "MARK":
                marks.append(len(stack))
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list}.get(opcode.name, tuple)())
            case "TUPLE":
                stack.append(tuple(taken()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(taken(int(opcode.name[-1]))))
            case "APPEND" | "APPENDS":
                values = taken(1 if opcode.name == "APPEND" else None)
                stack[-1].extend(values)
            case "SETITEM" | "SETITEMS":
                values = taken(2 if opcode.name == "SETITEM" else None)
                _assign(stack[-1], zip(values[::2], values[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                if argument > len(memo) + 1:  # picklers count, from 0 or 1
                    raise IndexError("its memory has holes")
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                if argument not in _GLOBALS:
                    raise _Refused(f"holds a {_brief(argument.replace(' ', '.'))}, no tensor")
                stack.append(_GLOBALS[argument])
            case "REDUCE":
                function, arguments = taken(2)
                if not isinstance(arguments, tuple):
                    raise TypeError("a call without a tuple of arguments")
                passed = [x for x in (arguments, *arguments) if isinstance(x, (list, tuple))]
                budget.spend(sum(map(len, passed)))
                stack.append(function(*arguments))
            case "BINPERSID":
                stack.append(_stored(stack.pop(), fits))
            case "BUILD":  # attributes of a dict, such as the versions of modules
                stack.pop()
            case "STOP":
                return stack.pop()
            case _:
                raise _Refused(f"its pickle uses {opcode.name}, which torch.save does not")
    raise ValueError("it has no end")


def _assign(target: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
    """Put items into a dict, under keys whose hashing and comparison take no time.

    Whole numbers, under which optimizers keep their state, all become `None`: nothing here looks
    for them, and a stranger can choose numbers whose hashes collide.
    """
    if not isinstance(target, dict):
        raise TypeError("items for what is not a dict")
    for key, value in pairs:
        if type(key) not in (str, int) or (type(key) is str and len(key) > _LONGEST_KEY):
            raise _Refused(f"has a {type(key).__name__} as key, not a short text or a whole number")
        target[key if type(key) is str else None] = value


def _stored(named: Any, fits: Fits) -> _Storage:
    """The storage that a persistent id names: ('storage', torch.FloatStorage, '0', 'cpu', 72)."""
    if not isinstance(named, tuple) or len(named) not in (5, 6) or named[0] != "storage":
        raise _Refused("names something as a storage that is not one")
    _, dtype, key, _, count, *view = named
    if not isinstance(dtype, np.dtype) or not _is_number(key):
        raise _Refused(f"names a storage as '{_brief(key)}'")
    if view not in ([], [None]) or type(count) is not int or not 0 <= count < 1 << 63:
        raise _Refused(f"storage {key} is part of another, or has {_brief(count)} numbers")
    storage = _Storage(key, dtype, count)
    fits(storage)
    return storage


def _is_number(key: Any) -> bool:
    return isinstance(key, str) and len(key) <= 20 and key.isascii() and key.isdecimal()


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """A view of a storage, as torch._utils._rebuild_tensor_v2 makes it, within its bounds."""
    tuples = isinstance(shape, tuple) and isinstance(strides, tuple)
    if not (isinstance(storage, _Storage) and tuples and len(shape) == len(strides) <= _AXES):
        raise _Refused("a tensor without a storage, or with other strides than axes")
    if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
        view = f"shape {_brief(shape)}, strides {_brief(strides)} and offset {_brief(offset)}"
        raise _Refused(f"a tensor of {view}")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    size = math.prod(shape)
    if size and (last >= storage.count or size > storage.count):
        raise _Refused(f"a tensor of shape {_brief(shape)} reaches beyond its storage")
    return _Tensor(storage, offset, shape, strides)


def _ordered(items: Any = ()) -> dict[str | None, Any]:
    """An OrderedDict; Python 2 passed it a list of its items."""
    if not isinstance(items, (list, tuple)):
        raise TypeError("an OrderedDict of what is not a list")
    pairs: dict[str | None, Any] = {}
    _assign(pairs, ((key, value) for key, value in items))
    return pairs


def _size(shape: Any) -> Any:
    if not isinstance(shape, tuple):
        raise TypeError("a size that is not a tuple")
    return shape


_GLOBALS: dict[str, Any] = {
    "collections OrderedDict": _ordered,
    "torch Size": _size,
    "torch._utils _rebuild_parameter": lambda data, *_: data,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    **{f"torch {name}": np.dtype(kind) for name, kind in _STORAGES.items()},
}


def _weights(value: Any) -> dict[str, _Tensor]:
    """The dict of tensors that a file holds, or holds under one of the usual names."""
    nested = [value.get(name) for name in _NESTED] if isinstance(value, dict) else []
    for candidate in (value, *nested):
        if isinstance(candidate, dict) and candidate:
            items = candidate.items()
            if all(isinstance(k, str) and isinstance(v, _Tensor) for k, v in items):
                return candidate
    names = map(_brief, itertools.islice(value, 8)) if isinstance(value, dict) else []
    held = ", ".join(names) or type(value).__name__.strip("_").lower()
    raise _Refused(f"holds no dict of tensors, nor one as {' or '.join(_NESTED)}, but {held[:200]}")


def _brief(value: Any, most: int = 120) -> str:
    """A stranger's value in a few printable characters; what it holds in turn is not shown."""
    match value:
        case str():
            text = repr(value[:most])[1:-1]
        case int() | float():
            text = repr(value)
        case tuple():
            shown = (repr(x) if type(x) in (int, float) else type(x).__name__ for x in value[:8])
            text = f"({', '.join(shown)})"
        case Exception():
            told = next((x for x in value.args if isinstance(x, str)), "")
            text = f"{type(value).__name__}: {_brief(told)}"
        case _:
            text = type(value).__name__
    return text[:most]

"""Weight files as others write them: name -> array. Nothing in them is ever executed.

`.safetensors`, and what `torch.save` writes (`.pth`, `.pt`, `.bin`): raw storages and a pickle,
which says how tensors lie in them, in a zip archive, or before PyTorch 1.6 one behind the other. A
pickle is a program. This one is not run: it is read opcode by opcode, and what a file of tensors
does not need is refused.
"""

from __future__ import annotations

import functools
import itertools
import math
import pickletools
import zipfile
from collections.abc import Callable, Mapping
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
Storage = Callable[[str, np.dtype, int], bytes]  # of key, kind and count of numbers
_CONVERT = (
    "convert it where you trust it: safetensors.torch.save_file(torch.load(file), "
    "'file.safetensors')"
)
_AGAIN = "get it anew"


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a weight file, by name.

    Of a checkpoint that holds more (`{'state_dict': …, 'epoch': 90}`), the weights; and without
    the `module.` that data-parallel training puts before every name.

    Raises:
      UserError: no such file, a format that is not read, a damaged file, or one that holds
        anything but tensors, numbers and texts.
    """
    path = Path(path).expanduser()
    readers = {".safetensors": _safetensors, ".pth": _torch, ".pt": _torch, ".bin": _torch}
    if path.suffix not in readers:
        raise UserError(f"{path}: not a weight file; they end in {', '.join(readers)}")
    try:
        tensors = readers[path.suffix](path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if tensors and all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): array for name, array in tensors.items()}
    return tensors


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise UserError(f"{path}: damaged, or no safetensors file ({error}); {_AGAIN}") from None
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS:
            raise UserError(
                f"{path}: {name} is of type {entry['dtype']}, which is not read; save it as one "
                f"of {', '.join(_SAFETENSORS)}"
            )
    return {
        name: np.frombuffer(entry["data"], _SAFETENSORS[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in entries
    }


def _torch(path: Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            legacy = file.read(len(_LEGACY)) == _LEGACY
            file.seek(0)
            if legacy:
                found = _interpret(*_legacy_contents(file))
            else:
                with zipfile.ZipFile(file) as archive:
                    found = _interpret(*_contents(archive))
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: damaged, or no file of torch.save ({error}); {_AGAIN}") from None
    except _Refused as error:
        raise UserError(f"{path}: {error}; {_CONVERT}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: its pickle makes no sense ({type(error).__name__}: {error}); {_AGAIN}"
        ) from None
    tensors = _weights(found)
    if tensors is None:
        held = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
        raise UserError(
            f"{path}: holds no dict of tensors, nor one as {' or '.join(_NESTED)}, but "
            f"{held[:200]}; {_CONVERT}"
        )
    return tensors


class _Refused(Exception):
    """What a file of tensors does not need."""


def _contents(archive: zipfile.ZipFile) -> tuple[bytes, Storage]:
    """The pickle of an archive, and what reads the bytes of a storage."""
    names = archive.namelist()
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _Refused("a zip file, but not of torch.save (no data.pkl)")
    root = pickles[0].partition("/")[0]
    for entry in archive.infolist():
        if ".." in entry.filename.split("/") or not entry.filename.startswith(f"{root}/"):
            raise _Refused(f"holds {entry.filename!r}, which torch.save does not write")
        if entry.compress_type != zipfile.ZIP_STORED:  # torch compresses nothing; bombs do
            raise _Refused(f"{entry.filename!r} is compressed, which torch.save does not do")
    if f"{root}/byteorder" in names and archive.read(f"{root}/byteorder") != b"little":
        raise _Refused("written by a big-endian machine")

    def storage(key: str, dtype: np.dtype, count: int) -> bytes:
        if f"{root}/data/{key}" not in names:
            raise _Refused(f"storage {key!r} is missing")
        return archive.read(f"{root}/data/{key}")

    return archive.read(pickles[0]), functools.cache(storage)


def _legacy_contents(file: BinaryIO) -> tuple[bytes, Storage]:
    """The same of a file from before PyTorch 1.6: pickles, then each storage behind its length."""
    ends = [0]
    for _ in range(_LEGACY_PICKLES):
        for _ in pickletools.genops(file):
            pass
        ends.append(file.tell())
    length = file.seek(0, 2)
    file.seek(0)
    *_, program, keys = [file.read(stop - start) for start, stop in itertools.pairwise(ends)]
    sizes: dict[str, int] = {}

    def measured(key: str, dtype: np.dtype, count: int) -> bytes:
        if count * dtype.itemsize > length:
            raise _Refused(f"storage {key} has {count} numbers, more than the file")
        sizes[key] = dtype.itemsize
        return bytes(count * dtype.itemsize)

    _interpret(program, measured)  # the file says how many numbers, and only this of what size
    contents: dict[str, bytes] = {}
    for key in _interpret(keys, measured):
        count = int.from_bytes(file.read(8), "little")
        contents[key] = file.read(count * sizes[key])
    return program, lambda key, dtype, count: contents[key]


def _interpret(program: bytes, storage: Storage) -> Any:
    """What the pickle of a file of tensors stands for.

    Only `_GLOBALS` can be called, and all that they do is make dicts, tuples and views.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def taken(count: int | None = None) -> list[Any]:
        """The last `count` values of the stack, or those since the last mark."""
        start = marks.pop() if count is None else len(stack) - count
        if start < 0:
            raise IndexError("the stack is empty")
        values = stack[start:]
        del stack[start:]
        return values

    argument: Any
    for opcode, argument, _ in pickletools.genops(program):
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
                stack[-1].update(zip(values[::2], values[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                if argument not in _GLOBALS:
                    raise _Refused(f"holds a {argument.replace(' ', '.')}, no tensor")
                stack.append(_GLOBALS[argument])
            case "REDUCE":
                function, arguments = taken(2)
                stack.append(function(*arguments))
            case "BINPERSID":
                stack.append(_stored(stack.pop(), storage))
            case "BUILD":  # attributes of a dict, such as the versions of modules
                stack.pop()
            case "STOP":
                return stack.pop()
            case _:
                raise _Refused(f"its pickle uses {opcode.name}, which torch.save does not")
    raise ValueError("it has no end")


def _stored(named: Any, storage: Storage) -> np.ndarray:
    """The storage that a persistent id names, (numbers,)."""
    kind, dtype, key, _, count, *view = named  # ('storage', torch.FloatStorage, '0', 'cpu', 72)
    if kind != "storage" or not isinstance(dtype, np.dtype) or not key.isdecimal():
        raise _Refused(f"names a storage as {key!r}")
    if view not in ([], [None]) or type(count) is not int or count < 0:
        raise _Refused(f"storage {key} is part of another, or has {count} numbers")
    content = storage(key, dtype, count)
    if len(content) != count * dtype.itemsize:
        raise _Refused(f"storage {key} has {len(content)} bytes, not {count * dtype.itemsize}")
    return np.frombuffer(content, dtype)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """A view of a storage, as torch._utils._rebuild_tensor_v2 makes it, within its bounds."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, np.ndarray) or len(shape) != len(strides):
        raise _Refused("a tensor without a storage, or with other strides than axes")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise _Refused(f"a tensor of shape {shape}, strides {strides} and offset {offset}")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    size = math.prod(shape)
    if size and (last >= len(storage) or size > len(storage)):
        raise _Refused(f"a tensor of shape {shape} reaches beyond its storage")
    steps = [stride * storage.itemsize for stride in strides]
    view = np.lib.stride_tricks.as_strided
    return view(storage[offset:], shape, steps) if size else np.empty(shape, storage.dtype)


_GLOBALS: dict[str, Any] = {
    "collections OrderedDict": dict,
    "torch Size": tuple,
    "torch._utils _rebuild_parameter": lambda data, *_: data,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    **{f"torch {name}": np.dtype(kind) for name, kind in _STORAGES.items()},
}


def _weights(found: Any) -> dict[str, np.ndarray] | None:
    """The dict of tensors that a file holds, or holds under one of the usual names."""
    nested = [found.get(name) for name in _NESTED] if isinstance(found, Mapping) else []
    for candidate in (found, *nested):
        if isinstance(candidate, Mapping) and candidate:
            items = candidate.items()
            if all(isinstance(k, str) and isinstance(v, np.ndarray) for k, v in items):
                return dict(items)
    return None

"""The pickles of PyTorch's weight files, interpreted without being executed.

A pickle is a program. This one is not run: it is read opcode by opcode. What is no tensor, dict,
list, number or text, such as an argparse.Namespace or a scheduler beside the weights, becomes an
`Opaque`: a name, of which nothing is imported, made or called. A stranger's file may claim any
sizes, overlaps and depth of nesting, so time and memory are bounded by the size of the file.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

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
_STEPS = 1 << 21  # in the pickles of a file: 60,000 tensors, or some ten seconds and 300 MiB
_AXES = 64  # NumPy's limit
_LONGEST_KEY = 1000  # characters


class Refused(Exception):
    """The file holds something that a file of tensors does not need.

    Args:
      fault: what it holds.
      weights: Python that reads the weights of such a file.
      library: of safetensors, which saves them.
    """

    def __init__(
        self, fault: str, weights: str = "torch.load(file)", library: str = "torch"
    ) -> None:
        super().__init__(fault)
        save = f"safetensors.{library}.save_file({weights}, 'file.safetensors')"
        self.remedy = f"convert it where you trust it: {save}"


class Budget:
    """The steps that the pickles of one file may still take."""

    def __init__(self) -> None:
        self._left = _STEPS

    def spend(self, steps: int) -> None:
        """Take so many steps.

        Raises:
          Refused: there are none left.
        """
        self._left -= steps
        if self._left < 0:
            raise Refused(f"its pickle takes more than {_STEPS:,} steps")


@dataclass(frozen=True)
class Storage:
    """A flat array in the file. Only `_storage` makes one, and checks its size."""

    key: str
    dtype: np.dtype
    count: int

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class Tensor:
    """A strided view of a storage. Only `_tensor` makes one, and checks its bounds."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers, shared ones counted each time."""
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def array(self, read: ReadStorage) -> np.ndarray:
        """The tensor as a view of its storage's bytes, which `read` gives."""
        dtype = self.storage.dtype
        if not self.nbytes:
            return np.empty(self.shape, dtype)
        steps = tuple(stride * dtype.itemsize for stride in self.strides)
        start = self.offset * dtype.itemsize  # NumPy checks the bounds, too
        return np.ndarray(self.shape, dtype, read(self.storage), start, steps)


@dataclass(frozen=True)
class Opaque:
    """What stands in a pickle for a thing that is not made."""

    name: str

    def __call__(self, *_: Any) -> Opaque:
        """The result of calling it: the same, since nothing is called."""
        return self


CheckSize = Callable[[Storage], None]  # raises `Refused` if the file has no room for the storage
ReadStorage = Callable[[Storage], bytes]


def interpret(program: io.BytesIO, check_size: CheckSize, budget: Budget) -> Any:
    """The value that the next pickle of a file of tensors stands for.

    Only `_GLOBALS` can be called, and they only make dicts, tuples and tensors. Each opcode and
    each value that is passed to a call costs a step, so that time and memory are bounded, however
    often a pickle repeats itself.

    Raises:
      Refused: the pickle needs more than that.
      Exception: of many types, where it is damaged.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def pop(count: int | None = None) -> list[Any]:
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
            case "SHORT_BINUNICODE" | "SHORT_BINBYTES" | "BINBYTES" | "SHORT_BINSTRING":
                stack.append(argument)
            case "FRAME":
                pass
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "EMPTY_SET":
                stack.append(Opaque("a set"))
            case "FROZENSET":
                pop()
                stack.append(Opaque("a set"))
            case "BYTEARRAY8":
                stack.append(Opaque("a bytearray"))
            case "ADDITEMS":
                pop()
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list}.get(opcode.name, tuple)())
            case "TUPLE":
                stack.append(tuple(pop()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(pop(int(opcode.name[-1]))))
            case "APPEND" | "APPENDS":
                values = pop(1 if opcode.name == "APPEND" else None)
                if not isinstance(stack[-1], Opaque):
                    stack[-1].extend(values)
            case "SETITEM" | "SETITEMS":
                values = pop(2 if opcode.name == "SETITEM" else None)
                if not isinstance(stack[-1], Opaque):
                    _assign(stack[-1], zip(values[::2], values[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                if argument > len(memo) + 1:  # picklers count, from 0 or 1
                    raise IndexError("its memory has holes")
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_global(argument))
            case "STACK_GLOBAL":
                module, name = pop(2)
                if not isinstance(module, str) or not isinstance(name, str):
                    raise TypeError("a global whose name is not text")
                stack.append(_global(f"{module} {name}"))
            case "NEWOBJ" | "NEWOBJ_EX":
                made, *_ = pop(2 if opcode.name == "NEWOBJ" else 3)
                if not isinstance(made, Opaque):
                    raise TypeError("an object of something that is not a class")
                stack.append(made)
            case "REDUCE":
                function, arguments = pop(2)
                if not isinstance(arguments, tuple):
                    raise TypeError("a call without a tuple of arguments")
                passed = [x for x in (arguments, *arguments) if isinstance(x, (list, tuple))]
                budget.spend(sum(map(len, passed)))
                stack.append(function(*arguments))
            case "BINPERSID":
                stack.append(_storage(stack.pop(), check_size))
            case "BUILD":  # attributes of a dict, such as the versions of modules
                stack.pop()
            case "STOP":
                return stack.pop()
            case _:
                raise Refused(f"its pickle uses {opcode.name}, which torch.save does not use")
    raise ValueError("it has no end")


def _assign(target: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
    """Put items into a dict, under keys that are fast to hash and compare.

    What is no text, such as the integers under which optimizers keep their state, all becomes the
    key `None`: nothing here looks it up, and a stranger can choose integers whose hashes collide.
    """
    if not isinstance(target, dict):
        raise TypeError("items of something that is not a dict")
    for key, value in pairs:
        if type(key) is str and len(key) > _LONGEST_KEY:
            raise Refused(f"has a key of {len(key):,} characters")
        target[key if type(key) is str else None] = value


def refuse_opaque(value: Any) -> None:
    """Refuse what is no tensor where only a tensor, or a dict of them, can be."""
    if isinstance(value, Opaque):
        module = "torch.load(file, weights_only=False).state_dict()"
        raise Refused(f"holds a {brief(value.name)}, not a tensor", module)


def _global(name: str) -> Any:
    """What a name stands for in here; of everything else the name alone."""
    return _GLOBALS[name] if name in _GLOBALS else Opaque(name.replace(" ", "."))


def _storage(persistent_id: Any, check_size: CheckSize) -> Storage:
    """The storage of a persistent id: ('storage', torch.FloatStorage, '0', 'cpu', 72)."""
    fields = persistent_id if isinstance(persistent_id, tuple) else ()
    if len(fields) not in (5, 6) or fields[0] != "storage":
        raise Refused("names something as a storage that is not one")
    _, dtype, key, _, count, *view = fields
    refuse_opaque(dtype)
    if not isinstance(dtype, np.dtype) or not _is_number(key):
        raise Refused(f"names a storage as '{brief(key)}'")
    if view not in ([], [None]) or type(count) is not int or not 0 <= count < 1 << 63:
        raise Refused(f"storage {key} is part of another, or has {brief(count)} numbers")
    storage = Storage(key, dtype, count)
    check_size(storage)
    return storage


def _is_number(key: Any) -> bool:
    return isinstance(key, str) and len(key) <= 20 and key.isascii() and key.isdecimal()


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """A view of a storage, as torch._utils._rebuild_tensor_v2 makes it, with checked bounds."""
    tuples = isinstance(shape, tuple) and isinstance(strides, tuple)
    if not (isinstance(storage, Storage) and tuples and len(shape) == len(strides) <= _AXES):
        raise Refused("a tensor without a storage, or whose strides and axes differ in number")
    if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
        view = f"shape {brief(shape)}, strides {brief(strides)} and offset {brief(offset)}"
        raise Refused(f"a tensor of {view}")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    size = math.prod(shape)
    if size and (last >= storage.count or size > storage.count):
        raise Refused(f"a tensor of shape {brief(shape)} reaches beyond its storage")
    return Tensor(storage, offset, shape, strides)


def _ordered(items: Any = ()) -> dict[str | None, Any]:
    """An OrderedDict; Python 2 passed it a list of its items."""
    if not isinstance(items, (list, tuple)):
        raise TypeError("an OrderedDict of something that is not a list")
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


def brief(value: Any, most: int = 120) -> str:
    """A stranger's value in a few printable characters; of containers only the types of items."""
    match value:
        case str():
            text = repr(value[:most])[1:-1]
        case int() | float():
            text = repr(value)
        case tuple():
            shown = (repr(x) if type(x) in (int, float) else type(x).__name__ for x in value[:8])
            text = f"({', '.join(shown)})"
        case Exception():
            message = next((x for x in value.args if isinstance(x, str)), "")
            text = f"{type(value).__name__}: {brief(message)}"
        case _:
            text = type(value).__name__
    return text[:most]

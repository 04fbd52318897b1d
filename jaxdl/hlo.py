"""What a program in HLO text computes, moves and sends: a reader of XLA's own notation.

XLA's cost analysis counts the body of a loop once and leaves out what cuDNN and cuBLAS compute, so
the counts here are made from the text: loops count as often as they run, of branches the dearest.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

# Of operations whose operands (n bytes on each of g devices) cross the network: what a device sends
# at least, as a ring does (Patarasuk and Yuan 2009).
_SENT: dict[str, Callable[[int], float]] = {
    "all-reduce": lambda g: 2 * (g - 1) / g,
    "all-gather": lambda g: g - 1,
    "reduce-scatter": lambda g: (g - 1) / g,
    "all-to-all": lambda g: (g - 1) / g,
    "ragged-all-to-all": lambda g: (g - 1) / g,
    "collective-broadcast": lambda g: 1 / g,
    "collective-permute": lambda g: 1,
}
# Operations that move nothing.
_FREE = frozenset({
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id",
    "replica-id", "iota", "opt-barrier", "domain", "add-dependency",
})  # fmt: skip
_PARTS = frozenset({"slice", "dynamic-slice", "gather"})  # read no more of an array than they give
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
_NAME = re.compile(r"%?([\w.\-]+)$")


@dataclass(frozen=True)
class Shape:
    """Type and sizes of an array.

    Attributes:
      dtype: as HLO calls it, such as 'bf16'.
      sizes: of its axes.
      on_chip: whether it is kept in memory on the chip itself, as TPUs do.
    """

    dtype: str
    sizes: tuple[int, ...]
    on_chip: bool = False

    @property
    def nbytes(self) -> float:
        """Bytes that it takes in the memory of the device."""
        if self.on_chip:
            return 0
        bits = re.search(r"\d+", self.dtype)
        return math.prod(self.sizes) * (int(bits[0]) / 8 if bits else self.dtype == "pred")


@dataclass(frozen=True)
class Instruction:
    """A line of a program: `name = shapes opcode(operands), attributes`."""

    name: str
    shapes: tuple[Shape, ...]
    opcode: str
    operands: tuple[str, ...]
    text: str
    root: bool

    def attribute(self, pattern: str) -> str | None:
        """The first group of a pattern in what follows the operands."""
        match = re.search(pattern, self.text)
        return match[1] if match else None

    @property
    def nbytes(self) -> float:
        """Bytes of all that it gives."""
        return sum(shape.nbytes for shape in self.shapes)


Computation = dict[str, Instruction]
Count = Callable[[Computation, Instruction], Counter]


@dataclass(frozen=True)
class Program:
    """The computations of a module, of which `entry` is the whole."""

    computations: dict[str, Computation]
    entry: str

    @classmethod
    def of(cls, text: str) -> Program:
        """The program of a module in HLO text."""
        computations: dict[str, Computation] = {}
        entry, current = "", dict[str, Instruction]()
        for line in text.splitlines():
            if head := re.match(r"(ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .*)?\{$", line):
                current = computations[head[2]] = {}
                entry = head[2] if head[1] else entry
            elif instruction := _instruction(line):
                current[instruction.name] = instruction
        return cls(computations, entry)

    @property
    def flops(self) -> Counter:
        """Operand type -> floating-point operations of matrix products and convolutions."""
        return self._total(_flops, fusions=True)

    @property
    def traffic(self) -> float:
        """Bytes read from and written to the memory of a device, by one operation after another."""
        return self._total(self._traffic, fusions=False)["bytes"]

    @property
    def collectives(self) -> Counter:
        """(kind, 'count' | 'bytes' | 'sent') -> how many, of what size, and what a device sends."""
        return self._total(self._collective, fusions=True)

    def _total(self, count: Count, fusions: bool) -> Counter:
        known: dict[str, Counter] = {}

        def of(name: str) -> Counter:
            if name not in known:
                computation, total = self.computations[name], Counter[object]()
                for each in computation.values():
                    total.update(count(computation, each))
                    total.update(nested(each))
                known[name] = total
            return known[name]

        def nested(each: Instruction) -> Counter:
            if each.opcode == "while":
                condition, body = each.attribute(r"condition=%?([\w.\-]+)"), _called(each, "body")
                trips = self._trips(each, condition or "")
                return Counter({key: trips * n for key, n in of(body[0]).items()})
            if each.opcode == "conditional":
                return max(map(of, _branches(each)), key=lambda c: sum(c.values()))
            if each.opcode == "fusion" and not fusions:
                return Counter()
            if each.opcode in ("call", "fusion", "async-start"):
                return of((_called(each, "to_apply") or _called(each, "calls"))[0])
            return Counter()

        return of(self.entry)

    def _trips(self, loop: Instruction, condition: str) -> int:
        """How often a loop runs: as XLA says, or up to what its counter is compared with, or once.

        Only steps have loops here, and these count from 0 by 1, as `jax.lax.scan` does.
        """
        if known := loop.attribute(r'known_trip_count":\{"n":"(\d+)"'):
            return int(known)
        reached = [condition, *(c for i in self.computations[condition].values()
                                for c in _called(i, "calls"))]  # fmt: skip
        texts = [i.text for c in reached for i in self.computations[c].values()
                 if i.opcode == "constant" and i.shapes[0].dtype in ("s32", "s64")]  # fmt: skip
        limits = [int(found[1]) for text in texts if (found := re.match(r"\((\d+)\)", text))]
        return max(limits, default=1)

    @functools.cached_property
    def _in_fusions(self) -> dict[str, str]:
        """Collectives inside fusions, by name, and what they are; '' for one told of already.

        A TPU's compiler writes a collective, with its channel, into each of the operations that it
        runs beside, and sums and scatters in one fusion.
        """
        kinds, seen = dict[str, str](), set[str | None]()
        fusions = (i for c in self.computations.values() for i in c.values())
        for name in [_called(i, "calls")[0] for i in fusions if i.opcode == "fusion"]:
            for each in self.computations[name].values():
                if (kind := each.opcode.removesuffix("-start")) in _SENT:
                    channel = each.attribute(r"channel_id=(\d+)")
                    kind = "reduce-scatter" if name.startswith("all-reduce-scatter") else kind
                    kinds[each.name] = "" if channel in seen else kind
                    seen |= {channel} - {None}
        return kinds

    def _collective(self, computation: Computation, each: Instruction) -> Counter:
        kind = self._in_fusions.get(each.name, each.opcode.removesuffix("-start"))
        devices = _group(each)
        if kind not in _SENT or devices < 2:
            return Counter()
        # Where the array lies in a device does not matter to the network.
        size = sum(
            Shape(shape.dtype, shape.sizes).nbytes
            for name in each.operands
            if name in computation
            for shape in computation[name].shapes
        )
        sent = _SENT[kind](devices) * size
        return Counter({(kind, "count"): 1, (kind, "bytes"): size, (kind, "sent"): sent})

    def _traffic(self, computation: Computation, each: Instruction) -> Counter:
        moved: dict[str, Any] = {"bytes": self._moved(computation, each)}
        return Counter(moved)

    def _moved(self, computation: Computation, each: Instruction) -> float:
        operands = [computation[name] for name in each.operands if name in computation]
        if each.opcode in _FREE or each.opcode.endswith("-done"):
            return 0
        if each.opcode in ("while", "conditional", "call", "async-start"):
            return 0  # what they call is counted
        if each.opcode == "slice-start":  # a part of an array, on its way into the chip
            return _read(operands[0], each.shapes[1:2]) + each.shapes[1].nbytes
        if each.opcode.endswith("-start"):  # what it gives repeats its operands, and more
            return sum(shape.nbytes for shape in each.shapes[:2])
        if each.opcode in _PARTS:
            return _read(operands[0], each.shapes) + each.nbytes
        if each.opcode == "dynamic-update-slice":
            return operands[1].nbytes + _read(each, operands[1].shapes)
        if each.opcode == "scatter":
            return sum(x.nbytes for x in operands[1:]) + _read(each, operands[-1].shapes)
        if each.opcode == "fusion":
            return self._fused(each, operands)
        results = each.shapes
        if each.opcode == "custom-call" and len(results) > 1 and results[-1].dtype in ("u8", "s8"):
            results = results[:-1]  # work space of cuDNN or cuBLAS, most of which is never touched
        return sum(x.nbytes for x in operands) + sum(x.nbytes for x in results)

    def _fused(self, fusion: Instruction, operands: list[Instruction]) -> float:
        """What a fusion reads and writes: of arrays of which it takes or sets parts, only these."""
        inner = self.computations[_called(fusion, "calls")[0]]
        parameters = _parameters(inner)
        total = 0.0
        for number, operand in enumerate(operands):
            users = list(self._users(inner, parameters[number]))
            if all(by.opcode in _PARTS | {"dynamic-update-slice"} for by in users):
                parts = [s for by in users if by.opcode in _PARTS for s in by.shapes]
                total += min(operand.nbytes, _read(operand, tuple(parts)))
            else:
                total += operand.nbytes
        root = next(i for i in inner.values() if i.root)
        results = [inner[n] for n in root.operands] if root.opcode == "tuple" else [root]
        for shape, result in zip(fusion.shapes, results, strict=False):
            while result.opcode == "bitcast":
                result = inner[result.operands[0]]
            if result.opcode == "dynamic-update-slice" and not shape.on_chip:
                update = inner[result.operands[1]].shapes
                total += sum(Shape(s.dtype, s.sizes).nbytes for s in update)
            else:
                total += shape.nbytes
        return total

    def _users(self, computation: Computation, name: str) -> Iterator[Instruction]:
        """What uses a value, other than to see it in another shape; within fusions too."""
        for each in computation.values():
            if name not in each.operands:
                continue
            if each.opcode == "bitcast":
                yield from self._users(computation, each.name)
            elif each.opcode == "fusion":
                inner = self.computations[_called(each, "calls")[0]]
                places = _parameters(inner)
                within = [
                    by
                    for number, operand in enumerate(each.operands)
                    if operand == name
                    for by in self._users(inner, places[number])
                ]
                yield from within or [each]  # where it is seen in another shape alone, all of it
            elif each.opcode == "dynamic-update-slice" and name != each.operands[0]:
                yield Instruction(each.name, each.shapes, "update", each.operands, "", each.root)
            else:
                yield each


def _instruction(line: str) -> Instruction | None:
    head = re.match(r"\s+(ROOT )?%?([\w.\-]+) = ", line)
    if not head:
        return None
    rest = line[head.end() :]
    end = _closing(rest) if rest.startswith("(") else rest.index(" ")
    kind, rest = rest[:end], rest[end:].lstrip()
    opcode, _, _ = rest.partition("(")
    rest = rest[len(opcode) :]
    end = _closing(rest)
    names = (_NAME.search(part) for part in rest[1 : end - 1].split(", "))
    operands = () if opcode in ("constant", "parameter") else tuple(m[1] for m in names if m)
    text = rest if opcode in ("constant", "parameter") else rest[end:]
    shapes = tuple(
        Shape(dtype, tuple(map(int, filter(None, sizes.split(",")))), "S(1)" in layout)
        for dtype, sizes, layout in _SHAPE.findall(kind)
    )
    return Instruction(head[2], shapes, opcode, operands, text, bool(head[1]))


def _closing(text: str) -> int:
    """Where the parenthesis that a text begins with is closed."""
    depth = 0
    for match in re.finditer(r"[()]", text):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.end()
    return len(text)


def _called(each: Instruction, attribute: str) -> list[str]:
    name = each.attribute(rf"\b{attribute}=%?([\w.\-]+)")
    return [name] if name else []


def _branches(each: Instruction) -> list[str]:
    if listed := each.attribute(r"branch_computations=\{([^}]*)\}"):
        return [name.strip().lstrip("%") for name in listed.split(",")]
    return _called(each, "true_computation") + _called(each, "false_computation")


def _read(array: Instruction, parts: tuple[Shape, ...]) -> float:
    """Bytes of parts of an array; none where the array is on the chip."""
    on_chip = bool(array.shapes) and array.shapes[0].on_chip
    return 0 if on_chip else sum(Shape(s.dtype, s.sizes).nbytes for s in parts)


def _parameters(computation: Computation) -> dict[int, str]:
    """The names of its parameters, by their numbers."""
    return {
        int(i.text[1 : i.text.index(")")]): i.name
        for i in computation.values()
        if i.opcode == "parameter"
    }


def _group(each: Instruction) -> int:
    """How many devices a collective joins: its groups are listed, or of [groups, devices]."""
    if each.opcode.startswith("collective-permute"):
        pairs = each.attribute(r"source_target_pairs=(\{\{.*?\}\})") or ""
        return 1 + any(a != b for a, b in re.findall(r"\{(\d+),(\d+)\}", pairs))
    if listed := each.attribute(r"replica_groups=\{\{([\d,]*)\}"):
        return len(listed.split(","))
    if size := each.attribute(r"replica_groups=\[\d+,(\d+)\]"):
        return int(size)
    axes = each.attribute(r"replica_groups=mesh\[([^\]]*)\]")
    joined = each.attribute(r"replica_groups=mesh\[[^\]]*\] \{([^}]*)\}")
    if axes is None or joined is None:
        return 1
    sizes = {name: int(n) for name, n in re.findall(r"'([^']*)'=(\d+)", axes)}
    return math.prod(sizes.get(name, 1) for name in re.findall(r"'([^']*)'", joined))


_ONEDNN = r'custom_call_target="jaxdl_onednn_(forward|input_gradient|kernel_gradient|matmul)"'


def _flops(computation: Computation, each: Instruction) -> Counter:
    if each.opcode == "dot":
        left, outputs = computation[each.operands[0]].shapes[0], each.shapes[0].sizes
        axes = each.attribute(r"lhs_contracting_dims=\{([\d,]*)\}") or ""
        summed = math.prod(left.sizes[int(axis)] for axis in filter(None, axes.split(",")))
        return Counter({left.dtype: 2 * math.prod(outputs) * summed})
    if each.opcode == "convolution":
        return _convolution(each, *(computation[name].shapes[0] for name in each.operands[:2]))
    if function := each.attribute(_ONEDNN):
        return _onednn(function, each, *(computation[name].shapes[0] for name in each.operands))
    return Counter()


def _convolution(each: Instruction, left: Shape, right: Shape) -> Counter:
    labels = each.attribute(r"dim_labels=([\w>\-]+)") or ""
    of_left, of_right, of_output = re.split(r"_|->", labels)
    outputs = each.shapes[0].sizes
    products = outputs[of_output.index("b")] * outputs[of_output.index("f")]
    products *= right.sizes[of_right.index("i")]

    def window(name: str, default: str) -> list[str]:
        found = each.attribute(rf"window=\{{[^}}]*\b{name}=([\dx_\-]+)")
        return (found or "x".join(default for _ in of_output)).split("x")

    for axis in filter(str.isdecimal, of_output):
        products *= _overlaps(
            left.sizes[of_left.index(axis)],
            right.sizes[of_right.index(axis)],
            outputs[of_output.index(axis)],
            stride=int(window("stride", "1")[int(axis)]),
            low=int(window("pad", "0_0")[int(axis)].split("_")[0]),
            spread=int(window("rhs_dilate", "1")[int(axis)]),
            holes=int(window("lhs_dilate", "1")[int(axis)]),
        )
    return Counter({left.dtype: 2 * products})


def _onednn(function: str, each: Instruction, a: Shape, b: Shape) -> Counter:
    """Of a product of matrices or a convolution, whose gradients cost as much, by oneDNN."""
    if function == "matmul":
        sizes = (math.prod(shape.sizes) for shape in (a, b, each.shapes[0]))
        return Counter({a.dtype: 2 * math.isqrt(math.prod(sizes))})
    images, kernel, outputs = {
        "forward": (a, b, each.shapes[0]),
        "input_gradient": (each.shapes[0], b, a),
        "kernel_gradient": (b, each.shapes[0], a),
    }[function]

    def numbers(name: str, n: int) -> list[int]:
        text = each.attribute(rf"\b{name} = dense<([^>]*)") or ""
        found = [int(number) for number in re.findall(r"\d+", text)]
        return found * (n if len(found) == 1 else 1)  # where all are the same, XLA writes one

    strides, pads, spread = numbers("strides", 2), numbers("pads", 4), numbers("dilation", 2)
    products = outputs.sizes[0] * outputs.sizes[3] * kernel.sizes[2]
    for axis in (0, 1):
        products *= _overlaps(
            images.sizes[1 + axis],
            kernel.sizes[axis],
            outputs.sizes[1 + axis],
            stride=strides[axis],
            low=pads[2 * axis],
            spread=spread[axis],
        )
    return Counter({a.dtype: 2 * products})


def _overlaps(
    inputs: int, kernel: int, outputs: int, stride: int, low: int, spread: int, holes: int = 1
) -> int:
    """Pairs of an output and an element of the kernel that meet an input, not padding or holes."""
    end = (inputs - 1) * holes
    places = (o * stride + k * spread - low for o in range(outputs) for k in range(kernel))
    return sum(0 <= place <= end and place % holes == 0 for place in places)

"""Weight files: what is in them comes out, and whatever else they hold is refused, not run."""

import hashlib
import json
import os
import pickle
import struct
import time
import zipfile
import zlib

import ml_dtypes
import numpy as np
import pytest
from fuzzing import message
from safetensors.numpy import save_file

from jaxdl.checkpointing import torch_pickle, weight_files
from jaxdl.errors import UserError

RNG = np.random.default_rng(0)


class Call:
    """A global, and what it is called with, if it is."""

    def __init__(self, name, *arguments, called=True):
        self.name, self.arguments, self.called = name, arguments, called


class Stored(tuple):
    """A persistent id."""


def pickled(value):
    """The opcodes that torch.save writes for a value, without the final stop."""
    match value:
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            return b"J" + struct.pack("<i", value)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case Stored():
            return pickled(tuple(value)) + b"Q"
        case tuple():
            return b"(" + b"".join(map(pickled, value)) + b"t"
        case list():
            return b"](" + b"".join(map(pickled, value)) + b"e"
        case dict():
            return b"}(" + b"".join(pickled(k) + pickled(v) for k, v in value.items()) + b"u"
        case Call():
            module, _, name = value.name.rpartition(".")
            found = f"c{module}\n{name}\n".encode()
            return found + (pickled(value.arguments) + b"R" if value.called else b"")


def tensor(key="0", shape=(2, 3), strides=(3, 1), offset=0, count=6, kind="torch.FloatStorage"):
    stored = Stored(("storage", Call(kind, called=False), key, "cpu", count))
    hooks = Call("collections.OrderedDict")
    return Call("torch._utils._rebuild_tensor_v2", stored, offset, shape, strides, False, hooks)


def nested(opcode, depth):
    """A tuple of twice the same tuple, and so on, which has 2**depth parts: or of one."""
    twice = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + opcode for i in range(min(depth, 200)))
    return b")" + (twice if opcode == b"\x86" else opcode * depth)


def text(content):
    return b"X" + struct.pack("<I", len(content)) + content


NUMBERS = np.arange(6, dtype=np.float32)
TWICE = nested(b"\x86", 60)
VIEW = b"ctorch._utils\n_rebuild_tensor_v2\n"


def archive(path, value, storages=None, compression=zipfile.ZIP_STORED, **extra):
    """A file such as torch.save writes, of opcodes or a value that is `pickled`."""
    program = value if isinstance(value, bytes) else b"\x80\x02" + pickled(value) + b"."
    entries = {"data.pkl": program, "byteorder": b"little", "version": b"3\n", **extra}
    entries |= {f"data/{k}": v for k, v in (storages or {"0": NUMBERS.tobytes()}).items()}
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(f"weights/{name}", content)
    return path


def header(entries):
    """A safetensors file of no bytes."""
    told = json.dumps({k: v and {**v, "data_offsets": [0, 0]} for k, v in entries.items()}).encode()
    return struct.pack("<Q", len(told)) + told


def old(tree=None, keys=("0",), count=6, little=True):
    """A file such as torch.save wrote before 1.6."""
    tree = (
        {"a": tensor(), "b": tensor(shape=(2,), strides=(2,), offset=1)} if tree is None else tree
    )
    machine = {"protocol_version": 1001, "little_endian": little}
    pickles = [b"\x80\x02" + pickled(value) + b"." for value in (1001, machine, tree, list(keys))]
    return weight_files._LEGACY + b"".join(pickles) + struct.pack("<q", count) + NUMBERS.tobytes()


def test_files_from_before_torch_1_6(tmp_path):
    (tmp_path / "old.pth").write_bytes(old())
    found = weight_files.read(tmp_path / "old.pth")
    np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["b"], [1, 3])


def test_safetensors(tmp_path):
    arrays = {
        "layer.weight": RNG.normal(size=(4, 3)).astype(np.float32),
        "half": RNG.normal(size=5).astype(np.float16),
        "brain": RNG.normal(size=(2, 2)).astype(ml_dtypes.bfloat16),
        "count": np.array(7, np.int64),
        "none": np.zeros((0, 3), np.float32),
    }
    save_file(arrays, tmp_path / "a.safetensors")
    found = weight_files.read(tmp_path / "a.safetensors")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_tensors_of_torch_are_views_of_their_storages(tmp_path):
    wide = np.arange(4, dtype=ml_dtypes.bfloat16)
    value = {
        "whole": tensor(),
        "turned": tensor(shape=(3, 2), strides=(1, 3)),
        "part": tensor(shape=(2,), strides=(2,), offset=1),
        "scalar": tensor(shape=(), strides=(), offset=5),
        "brain": tensor("1", (4,), (1,), 0, 4, "torch.BFloat16Storage"),
        "none": tensor(shape=(0, 3), strides=(3, 1)),
        "learnt": Call("torch._utils._rebuild_parameter", tensor(), True, None),
    }
    storages = {"0": NUMBERS.tobytes(), "1": wide.tobytes()}
    found = weight_files.read(archive(tmp_path / "a.pth", value, storages))
    np.testing.assert_array_equal(found["whole"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["turned"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(found["part"], [1, 3])
    assert found["scalar"] == 5 and found["none"].shape == (0, 3)
    np.testing.assert_array_equal(found["brain"], wide)
    np.testing.assert_array_equal(found["learnt"], found["whole"])


@pytest.mark.parametrize("key", ["state_dict", "model", None])
def test_the_weights_of_a_checkpoint(tmp_path, key):
    held = {"module.a.weight": tensor(), "module.b": tensor()}
    size = Call("torch.Size", (2, 3))
    more = {"epoch": 90, "best": 0.5, "arch": "resnet", "sizes": [size, size], "done": True}
    value = held if key is None else {**more, key: held, "optimizer": {"state": {0: tensor()}}}
    found = weight_files.read(archive(tmp_path / "a.pt", value))
    assert list(found) == ["a.weight", "b"]


def test_files_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 1, 5, 5)).sum().backward()
    optimizer.step()
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        **net.state_dict(),
        "turned": base.T,
        "cut": base[1:, ::2],
        "brain": base.bfloat16(),
        "learnt": torch.nn.Parameter(base.double()),
        "tied": net[0].weight,
        "scalar": torch.tensor(7),
        "none": torch.zeros(0, 3),
        "mask": base > 5,
    }
    torch.save(state, tmp_path / "plain.pth")
    nested = {"state_dict": state, "optimizer": optimizer.state_dict(), "shape": base.shape}
    torch.save(nested, tmp_path / "nested.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("plain", "nested", "old"):
        found = weight_files.read(tmp_path / f"{name}.pth")
        assert list(found) == list(state)
        for key, array in found.items():
            expected = state[key].detach()
            assert array.dtype.name == str(expected.dtype).removeprefix("torch.")
            np.testing.assert_array_equal(array.astype(float), expected.double().numpy())
        assert np.shares_memory(found["tied"], found["0.weight"])


class Touch:
    """Unpickled, it runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_executed(tmp_path, protocol):
    trace = tmp_path / "trace"
    program = pickle.dumps({"weight": Touch(trace)}, protocol)
    pickle.loads(program)
    assert trace.exists()
    trace.unlink()
    with pytest.raises(UserError, match="convert it") as refused:
        weight_files.read(archive(tmp_path / "a.pth", program))
    assert not trace.exists() and "\n" not in str(refused.value)


WRONG = {
    "no such global": ({"a": Call("builtins.eval", "1")}, "holds a builtins.eval, not a tensor"),
    "near a global": ({"a": Call("torch._utils.os.system", "x")}, "holds a torch._utils.os.system"),
    "a global as weights": ({"a": Call("collections.OrderedDict", called=False)}, "no dict of"),
    "a call of no function": (b"\x80\x02X\x01\x00\x00\x00a)R.", "cannot be parsed"),
    "a call of a type": ({"a": Call("torch.FloatStorage", 3)}, "cannot be parsed"),
    "no end": (b"\x80\x02}", "cannot be parsed"),
    "too little on the stack": (b"\x80\x02\x86.", "cannot be parsed"),
    "no mark": (b"\x80\x02t.", "cannot be parsed"),
    "no memory": (b"\x80\x02h\x05.", "cannot be parsed"),
    "no opcodes": (b"<html>", "cannot be parsed"),
    "a build of code": (b"\x80\x02cos\nsystem\n.", "holds a os.system"),
    "an instance": (b"(S'true'\nios\nsystem\n.", "uses STRING"),
    "no tensors": ({"epoch": 90, "arch": "resnet"}, "but epoch, arch"),
    "a list": ([tensor()], "no dict of tensors by name, but list"),
    "several dicts": (
        {"first": {"a": tensor()}, "second": {"a": tensor()}}, "several dicts of tensors: first",
    ),
    "a missing storage": ({"a": tensor("7")}, "storage '7' is missing"),
    "a storage elsewhere": ({"a": tensor("../../etc/passwd")}, "names a storage as '../../etc"),
    "a short storage": ({"a": tensor(count=9)}, "storage 0 has 24 bytes, not 36"),
    "another type": ({"a": tensor(kind="torch.QInt8Storage")}, "holds a torch.QInt8Storage"),
    "a shape too far": ({"a": tensor(shape=(3, 3))}, "reaches beyond its storage"),
    "an offset too far": ({"a": tensor(offset=1)}, "reaches beyond its storage"),
    "a stride too far": ({"a": tensor(strides=(4, 1))}, "reaches beyond its storage"),
    "a vast view": ({"a": tensor(shape=(2**30, 2**30), strides=(0, 0))}, "reaches beyond"),
    "backwards": ({"a": tensor(strides=(-3, 1), offset=3)}, "strides (-3, 1)"),
    "before the start": ({"a": tensor(offset=-1)}, "offset -1"),
    "a fraction": ({"a": tensor(shape=(1.5, 2))}, "shape (1.5, 2)"),
    "few strides": ({"a": tensor(strides=(1,))}, "strides and axes differ"),
    "no storage": (
        {"a": Call("torch._utils._rebuild_tensor_v2", 1, 0, (), ())}, "without a storage",
    ),
    "a tensor as a storage": (
        {"a": Call("torch._utils._rebuild_tensor_v2", tensor(strides=(0, 0)), 0, (6,), (999,))},
        "without a storage",
    ),
    "a list as a shape": ({"a": tensor(shape=[2, 3])}, "without a storage, or whose"),
    "many axes": ({"a": tensor(shape=(1,) * 65, strides=(1,) * 65)}, "strides and axes differ"),
    "numbers that no machine has": (
        b"\x80\x02}(" + text(b"a") + VIEW
        + b"(" + pickled(Stored(("storage", Call("torch.FloatStorage", called=False), "0", "", 6)))
        + b"K\x00\x8a\xff" + b"\x7f" * 255 + b"\x85K\x01\x85tRu.",
        "reaches beyond its storage",
    ),
    "a count that no machine has": (
        b"\x80\x02(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"0")
        + b"N\x8a\xff" + b"\x7f" * 255 + b"tQ.",
        "storage 0 is part of another, or has ",
    ),
    "nested tuples as a key": (b"\x80\x02}(" + TWICE + b"Nu.", "no dict of tensors by name"),
    "nested tuples as a shape": (
        b"\x80\x02" + VIEW
        + b"(" + pickled(Stored(("storage", Call("torch.FloatStorage", called=False), "0", "", 6)))
        + b"K\x00" + TWICE + b"K\x01K\x01\x86tR.",
        "shape (tuple, tuple)",
    ),
    "nested tuples as the name of a storage": (
        b"\x80\x02(" + text(b"storage") + b"ctorch\nFloatStorage\n" + TWICE + b"NK\x06tQ.",
        "names a storage as '(tuple, tuple)'",
    ),
    "nested tuples as a storage": (b"\x80\x02" + TWICE + b"Q.", "names something as a storage"),
    "nested tuples as a call": (b"\x80\x02" + TWICE + b"R.", "cannot be parsed"),
    "nested tuples as a text": (b"\x80\x02" + TWICE + b".", "but tuple"),
    "depth": (b"\x80\x02" + nested(b"\x85", 20_000) + b".", "but tuple"),
    "a dict of itself": (b"\x80\x02}q\x00(" + text(b"model") + b"h\x00u.", "but model"),
    "a list of itself": (b"\x80\x02]q\x00h\x00a.", "but list"),
    "a fraction as a key": ({0.5: tensor()}, "no dict of tensors by name"),
    "truth as a key": ({True: tensor()}, "no dict of tensors by name"),
    "a long text as a key": ({"a" * 1001: tensor()}, "has a key of 1,001 characters"),
    "numbers as keys": ({0: tensor(), 1: tensor()}, "no dict of tensors"),
    "items of a list": (b"\x80\x02]K\x01K\x02s.", "cannot be parsed"),
    "a memory with holes": (b"\x80\x02]r\xff\xff\xff\x7f.", "its memory has holes"),
    "a mark above the stack": (b"\x80\x02NN(\x86t.", "the stack is empty"),
    "a call on a text": (b"\x80\x02ctorch\nSize\n" + text(b"a") + b"R.", "without a tuple"),
    "a size of a list": ({"a": Call("torch.Size", [1, 2])}, "a size that is not a tuple"),
    "an OrderedDict of a dict": ({"a": Call("collections.OrderedDict", {"ab": 1})}, "not a list"),
    "a text longer than the file": (b"\x80\x02X\xff\xff\xff\xff.", "cannot be parsed"),
    "a text of no language": (b"\x80\x02" + text(b"\xff\xfe") + b".", "cannot be parsed"),
    "a number of text": (b"\x80\x02L" + b"9" * 100_000 + b"L\n.", "cannot be parsed"),
    "a number longer than the file": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "cannot be parsed"),
    "bytes longer than memory": (b"\x80\x02\x8e" + b"\xff" * 7 + b"\x7f.", "cannot be parsed"),
    "a global that moves the cursor": (b"\x80\x02c\x1b[2J\nsystem\n.", r"holds a \x1b[2J.system"),
    "a long global": (b"\x80\x02cos\n" + b"a" * 10**6 + b"\n.", "holds a os.aaaaa"),
    "names that move the cursor": ({"\x1b[2J\n": 1}, r"but \x1b[2J\n"),
    "long names": ({f"{i}" * 900: 1 for i in range(9)}, "but 000"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_no_file_of_tensors(tmp_path, fault):
    value, told = WRONG[fault]
    with pytest.raises(UserError) as refused:
        weight_files.read(archive(tmp_path / "a.pth", value))
    assert told in str(refused.value) and str(refused.value).isprintable(), refused.value
    assert str(refused.value).startswith(str(tmp_path / "a.pth")) and len(str(refused.value)) < 1000


def test_tensors_that_share_numbers_share_memory(tmp_path):
    found = weight_files.read(archive(tmp_path / "a.pth", {"a": tensor(), "b": tensor()}))
    assert np.shares_memory(found["a"], found["b"])


def test_tensors_are_no_more_than_some_times_the_file(tmp_path):
    many = np.zeros(100_000, np.float32)
    one = tensor(shape=(100_000,), strides=(1,), count=len(many))
    few, lots = ({f"{i}": one for i in range(count)} for count in (30, 40))
    assert len(weight_files.read(archive(tmp_path / "a.pth", few, {"0": many.tobytes()}))) == 30
    with pytest.raises(UserError, match="they are 32 times the file"):
        weight_files.read(archive(tmp_path / "a.pth", lots, {"0": many.tobytes()}))


def test_a_list_of_items_makes_an_ordered_dict(tmp_path):
    value = Call("collections.OrderedDict", [["a", tensor()], ["b", tensor()]])  # by Python 2
    assert list(weight_files.read(archive(tmp_path / "a.pth", value))) == ["a", "b"]


def test_numbers_whose_hashes_collide_take_no_longer_than_others(tmp_path):
    count = 50_000  # 1.2e9 comparisons, if they were keys
    numbers = (k * (2**61 - 1) for k in range(1, count))
    colliding = b"".join(b"\x8a\x0c" + n.to_bytes(12, "little") + b"N" for n in numbers)
    program = b"\x80\x02}(" + text(b"state") + b"}(" + colliding + b"u" + text(b"model")
    program += pickled({"a": tensor()}) + b"u."
    start = time.process_time()
    assert list(weight_files.read(archive(tmp_path / "a.pth", program))) == ["a"]
    assert time.process_time() - start < 10


def calls(function, *arguments):
    """A pickle that calls a function twenty times with what it holds once."""
    program = pickled(arguments) + b"q\x00" + pickled(Call(function, called=False)) + b"q\x01"
    return b"\x80\x02" + program + b"h\x01h\x00R" * 20 + b"."


REPEATED = {
    "opcodes": b"\x80\x02" + b"]" * 1001,
    "items": calls("collections.OrderedDict", [["a", 1]] * 50),
    "arguments": calls("torch._utils._rebuild_parameter", *range(100)),
    "shapes": calls("torch.Size", (1,) * 100),
}


@pytest.mark.parametrize("what", REPEATED)
def test_what_a_pickle_repeats_costs_it_steps(tmp_path, monkeypatch, what):
    monkeypatch.setattr(torch_pickle, "_STEPS", 1000)
    with pytest.raises(UserError, match="takes more than 1,000 steps"):
        weight_files.read(archive(tmp_path / "a.pth", REPEATED[what]))


FAILURES = [
    MemoryError(), RecursionError("deep\nand deeper"), struct.error("\x1b[2J"), EOFError(),
    zlib.error("no"), NotImplementedError("zip file version 9"), RuntimeError("encrypted"),
    OverflowError("large"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), KeyError(((),)),
    AssertionError("x" * 10**6), OSError("gone\n"),
]  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_whatever_fails_is_told_in_one_line(tmp_path, monkeypatch, failure):
    def fail(*_):
        raise failure

    monkeypatch.setattr(torch_pickle.pickletools, "genops", fail)
    path = archive(tmp_path / "a.pth", {"a": tensor()})
    assert message(lambda: weight_files.read(path)).startswith(str(path))


def patched(path, member="data/0", **fields):
    """A sound archive, but for what its directory says of a member."""
    content = bytearray(
        archive(path, {"a": tensor()}, {"0": bytes(24), "1": bytes(24)}).read_bytes()
    )
    entry = content.rindex(b"weights/" + member.encode()) - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    places = {"version": (6, "<H"), "flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<I")}
    places |= {"packed": (20, "<I"), "size": (24, "<I"), "at": (42, "<I")}
    for field, value in fields.items():
        start, kind = places[field]
        struct.pack_into(kind, content, entry + start, value)
    path.write_bytes(content)


def renamed(path, old_name, new_name):
    """An archive in which a member has another name, of the same length."""
    content = archive(path, {"a": tensor()}, {"0": NUMBERS.tobytes(), "1": b""}).read_bytes()
    path.write_bytes(content.replace(old_name, new_name))


def commented(path):
    with zipfile.ZipFile(archive(path, {"a": tensor()}), "a") as file:
        file.comment = b"PK"


def damaged(path):
    content = bytearray(path.read_bytes())
    content[content.index(NUMBERS.tobytes()) + 5] ^= 1
    path.write_bytes(content)


FILES = {
    "gone.pth": (lambda path: None, "cannot be read (No such file"),
    "folder.pth": (lambda path: path.mkdir(), "cannot be read (Is a directory"),
    "weights.h5": (lambda path: path.touch(), "they end in .safetensors, .pth, .pt, .bin"),
    "page.pth": (lambda path: path.write_text("<!DOCTYPE html>"), "not a torch.save file"),
    "page.safetensors": (lambda path: path.write_text("<!DOCTYPE html>"), "not a safetensors file"),
    "empty.pth": (lambda path: path.touch(), "not a torch.save file"),
    "empty.safetensors": (lambda path: path.touch(), "not a safetensors file"),
    "old.pth": (lambda path: path.write_bytes(weight_files._LEGACY + b"..."), "cannot be parsed"),
    "old_short.pth": (lambda path: path.write_bytes(old()[:-9]), "storage 0 has 15 bytes, not 24"),
    "old_minus.pth": (
        lambda path: path.write_bytes(old(tree={"a": tensor(count=-1)})),
        "has -1 numbers",
    ),
    "old_huge.pth": (
        lambda path: path.write_bytes(old(tree={"a": tensor(count=2**31 - 1)})),
        "more than the file",
    ),
    "old_evil.pth": (
        lambda path: path.write_bytes(old(tree=Call("os.system", "true"))), "holds a os.system"
    ),
    "short.pth": (
        lambda path: path.write_bytes(archive(path, {"a": tensor()}).read_bytes()[:-30]),
        "damaged, or not a torch.save file",
    ),
    "flipped.pth": (lambda path: damaged(archive(path, {"a": tensor()})), "damaged"),
    "fifo.pth": (os.mkfifo, "not a regular file"),
    "encrypted.pth": (lambda path: patched(path, flags=1), "encrypted"),
    "encrypted_pickle.pth": (lambda path: patched(path, "data.pkl", flags=1), "encrypted"),
    "newer.pth": (lambda path: patched(path, "byteorder", version=99), "zip file version 9.9"),
    "patches.pth": (lambda path: patched(path, flags=32), "cannot be parsed (NotImplementedError"),
    "lying.pth": (lambda path: patched(path, size=25), "'weights/data/0' has two sizes"),
    "lying_twice.pth": (lambda path: patched(path, size=99, packed=99), "members overlap"),
    "vast.pth": (
        lambda path: patched(path, "data/1", size=2**31, packed=2**31),
        "members are larger than the file",
    ),
    "same.pth": (lambda path: patched(path, "data/1", at=0), "members overlap"),
    "elsewhere.pth": (lambda path: patched(path, "data/1", at=2**31), "larger than the file"),
    "checksum.pth": (lambda path: patched(path, crc=1), "Bad CRC-32"),
    "method.pth": (lambda path: patched(path, method=97), "is compressed"),
    "comment.pth": (commented, "with a comment"),
    "twice.pth": (lambda path: renamed(path, b"data/1", b"data/0"), "twice the same name"),
    "root.pth": (lambda path: renamed(path, b"weights/", b"/eights/"), "no data.pkl"),
    "escape.pth": (
        lambda path: archive(path, {"a": tensor()}, **{"../\x1b[2J\n": b""}),
        r"holds 'weights/../\x1b[2J\n'",
    ),
    "long.pth": (lambda path: archive(path, {"a": tensor()}, **{"../" * 9999: b""}), "../../.."),
    "old_twice.pth": (lambda path: path.write_bytes(old(keys=["0", "0"])), "a storage twice"),
    "old_none.pth": (lambda path: path.write_bytes(old(keys=[])), "storage '0' is missing"),
    "old_keys.pth": (lambda path: path.write_bytes(old(keys=[(("0",),)])), "that no tensor uses"),
    "old_other.pth": (lambda path: path.write_bytes(old(keys=["1"])), "that no tensor uses"),
    "old_count.pth": (
        lambda path: path.write_bytes(old(count=2**63 - 1)), f"0 has {2**63 - 1} numbers, not 6"
    ),
    "old_types.pth": (
        lambda path: path.write_bytes(old({"a": tensor(), "b": tensor(kind="torch.IntStorage")})),
        "storage 0 is named twice",
    ),
    "old_big.pth": (lambda path: path.write_bytes(old(little=False)), "big-endian"),
    "other.pth": (lambda path: zipfile.ZipFile(path, "w").close(), "no data.pkl"),
    "numpy.pth": (
        lambda path: np.savez(path.open("wb"), a=np.ones(3)),
        "safetensors.numpy.save_file(dict(numpy.load(file)), ",
    ),
    "slip.pth": (lambda path: archive(path, {"a": tensor()}, **{"../../x": b""}), "../../x"),
    "bomb.pth": (
        lambda path: archive(path, {"a": tensor()}, compression=zipfile.ZIP_DEFLATED),
        "is compressed",
    ),
    "big.pth": (lambda path: archive(path, {"a": tensor()}, byteorder=b"big"), "big-endian"),
    "eight.safetensors": (
        lambda path: save_file({"a": np.ones(3, ml_dtypes.float8_e4m3fn)}, path),
        "a is of type F8_E4M3",
    ),
    "escape.safetensors": (
        lambda path: save_file({"\x1b[2J\n": np.ones(3, ml_dtypes.float8_e4m3fn)}, path),
        r"\x1b[2J\n is of type F8_E4M3",
    ),
    "empty_but_vast.safetensors": (
        lambda path: path.write_bytes(header({"a": {"dtype": "F32", "shape": [0, 2**63]}})),
        "cannot be parsed",
    ),
    "deep.safetensors": (
        lambda path: path.write_bytes(header({"a": {}}).replace(b"{}", b"[" * 9999)),
        "cannot be parsed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_weight_file(tmp_path, name):
    make, told = FILES[name]
    make(tmp_path / name)
    with pytest.raises(UserError) as refused:
        weight_files.read(tmp_path / name)
    assert told in str(refused.value) and str(refused.value).isprintable(), refused.value
    assert len(str(refused.value)) < 1000


def namespaced(called=True):
    return {
        "model": {"w": tensor()},
        "epoch": 3,
        "args": Call("argparse.Namespace", called=called),
        "best": Call("numpy.core.multiarray.scalar", Call("numpy.dtype", "f8"), "\0" * 8),
        "schedule": Call("evil.module.Run", "rm -rf", {"a": [1, 2]}),
    }


@pytest.mark.parametrize("suffix", ["pth", "ckpt", "tar", "", "safetensors"])
def test_what_else_a_checkpoint_holds_is_passed_over_whatever_its_suffix(tmp_path, suffix):
    """Namespaces, numpy's scalars and a stranger's classes: neither imported nor called."""
    path = tmp_path / f"a.{suffix}"
    archive(path, pickled(namespaced()) + b".", {"0": NUMBERS})
    read = weight_files.read(path)
    np.testing.assert_array_equal(read["w"], NUMBERS.reshape(2, 3))
    save_file({"w": NUMBERS}, path)
    assert list(weight_files.read(path)) == ["w"]


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_the_prefixes_of_wrappers_are_left_out(tmp_path, prefix):
    path = tmp_path / "a.pth"
    archive(path, pickled({f"{prefix}a": tensor(), f"{prefix}b": tensor()}) + b".", {"0": NUMBERS})
    assert list(weight_files.read(path)) == ["a", "b"]


@pytest.mark.parametrize(
    "value",
    [
        {"a": tensor(), "step": 3, "b._extra_state": None},
        {"generator": {"a": tensor()}, "epoch": 3},
        {"ema": {"module": {"a": tensor()}}, "lr": {0.5: 1, (1, 2): 3, None: 4}},
        {"model": {"model._orig_mod.a": tensor(), "model.b._orig_mod.c": tensor()}},
    ],
)
def test_weights_under_any_name_and_beside_what_is_no_tensor(tmp_path, value):
    found = weight_files.read(archive(tmp_path / "a.pth", value))
    assert [*found] in (["a"], ["model.a", "model.b.c"])
    assert all(np.array_equal(array, NUMBERS.reshape(2, 3)) for array in found.values())


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    (tmp_path / "a.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UserError, match="git lfs pull"):
        weight_files.read(tmp_path / "a.pth")


def test_a_file_is_what_the_digits_in_its_name_say(tmp_path, refuses):
    save_file({"w": NUMBERS}, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    digits = hashlib.sha256(content).hexdigest()
    assert set(digits[:8]) & set("abcdef"), "such as torchvision's are checked, not dates"
    for name in (f"resnet18-{digits[:8]}.pth", f"a-{digits}.safetensors"):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(weight_files.read(tmp_path / name)["w"], NUMBERS)
        (tmp_path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with refuses(name, "its SHA-256 begins with", "as its name says; download it again"):
            weight_files.read(tmp_path / name)
    with refuses(f"not with {digits[:8]} as its name says"):
        weight_files.read(tmp_path / f"resnet18-{digits[:8]}.pth")


@pytest.mark.parametrize(
    "name",
    ["a-20240131.pth", "step-00012000.pt", "a-beef.pth", "a_f37072fd.pt", "r-3f9a2c1b.safetensors"],
)
def test_dates_steps_and_words_in_a_name_are_not_checked(tmp_path, name):
    save_file({"w": NUMBERS}, tmp_path / name)
    np.testing.assert_array_equal(weight_files.read(tmp_path / name)["w"], NUMBERS)

"""Weight files: what is in them comes out, and whatever else they hold is refused, not run."""

import os
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxdl import weights
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


NUMBERS = np.arange(6, dtype=np.float32)


def archive(path, value, storages=None, compression=zipfile.ZIP_STORED, **extra):
    """A file such as torch.save writes, of opcodes or a value that is `pickled`."""
    program = value if isinstance(value, bytes) else b"\x80\x02" + pickled(value) + b"."
    entries = {"data.pkl": program, "byteorder": b"little", "version": b"3\n", **extra}
    entries |= {f"data/{k}": v for k, v in (storages or {"0": NUMBERS.tobytes()}).items()}
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(f"weights/{name}", content)
    return path


def old(tree=None):
    """A file such as torch.save wrote before 1.6."""
    tree = (
        {"a": tensor(), "b": tensor(shape=(2,), strides=(2,), offset=1)} if tree is None else tree
    )
    machine = {"protocol_version": 1001, "little_endian": True}
    pickles = [b"\x80\x02" + pickled(value) + b"." for value in (1001, machine, tree, ["0"])]
    return weights._LEGACY + b"".join(pickles) + struct.pack("<q", 6) + NUMBERS.tobytes()


def test_files_from_before_torch_1_6(tmp_path):
    (tmp_path / "old.pth").write_bytes(old())
    found = weights.read(tmp_path / "old.pth")
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
    found = weights.read(tmp_path / "a.safetensors")
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
    found = weights.read(archive(tmp_path / "a.pth", value, storages))
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
    found = weights.read(archive(tmp_path / "a.pt", value))
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
    }
    torch.save(state, tmp_path / "plain.pth")
    nested = {"state_dict": state, "optimizer": optimizer.state_dict(), "shape": base.shape}
    torch.save(nested, tmp_path / "nested.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("plain", "nested", "old"):
        found = weights.read(tmp_path / f"{name}.pth")
        assert list(found) == list(state)
        for key, array in found.items():
            expected = state[key].detach()
            assert array.dtype.name == str(expected.dtype).removeprefix("torch.")
            np.testing.assert_array_equal(array.astype(float), expected.double().numpy())


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
        weights.read(archive(tmp_path / "a.pth", program))
    assert not trace.exists() and "\n" not in str(refused.value)


WRONG = {
    "no such global": ({"a": Call("builtins.eval", "1")}, "holds a builtins.eval, no tensor"),
    "near a global": ({"a": Call("torch._utils.os.system", "x")}, "holds a torch._utils.os.system"),
    "a global as weights": ({"a": Call("collections.OrderedDict", called=False)}, "no dict of"),
    "a call of no function": (b"\x80\x02X\x01\x00\x00\x00a)R.", "makes no sense"),
    "a call of a type": ({"a": Call("torch.FloatStorage", 3)}, "makes no sense"),
    "no end": (b"\x80\x02}", "makes no sense"),
    "too little on the stack": (b"\x80\x02\x86.", "makes no sense"),
    "no mark": (b"\x80\x02t.", "makes no sense"),
    "no memory": (b"\x80\x02h\x05.", "makes no sense"),
    "no opcodes": (b"<html>", "makes no sense"),
    "a build of code": (b"\x80\x02cos\nsystem\n.", "holds a os.system"),
    "an instance": (b"(S'true'\nios\nsystem\n.", "uses STRING"),
    "no tensors": ({"epoch": 90, "arch": "resnet"}, "but epoch, arch"),
    "a list": ([tensor()], "no dict of tensors, nor one as state_dict or model"),
    "numbers among tensors": ({"a": tensor(), "b": 3}, "no dict of tensors"),
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
    "few strides": ({"a": tensor(strides=(1,))}, "other strides than axes"),
    "no storage": (
        {"a": Call("torch._utils._rebuild_tensor_v2", 1, 0, (), ())}, "without a storage",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_no_file_of_tensors(tmp_path, fault):
    value, told = WRONG[fault]
    with pytest.raises(UserError) as refused:
        weights.read(archive(tmp_path / "a.pth", value))
    assert told in str(refused.value) and "\n" not in str(refused.value), refused.value
    assert str(refused.value).startswith(str(tmp_path / "a.pth"))


def damaged(path):
    content = bytearray(path.read_bytes())
    content[content.index(NUMBERS.tobytes()) + 5] ^= 1
    path.write_bytes(content)


FILES = {
    "gone.pth": (lambda path: None, "cannot be read (No such file"),
    "folder.pth": (lambda path: path.mkdir(), "cannot be read (Is a directory"),
    "weights.h5": (lambda path: path.touch(), "they end in .safetensors, .pth, .pt, .bin"),
    "page.pth": (lambda path: path.write_text("<!DOCTYPE html>"), "no file of torch.save"),
    "page.safetensors": (lambda path: path.write_text("<!DOCTYPE html>"), "no safetensors file"),
    "empty.pth": (lambda path: path.touch(), "no file of torch.save"),
    "empty.safetensors": (lambda path: path.touch(), "no safetensors file"),
    "old.pth": (lambda path: path.write_bytes(weights._LEGACY + b"..."), "makes no sense"),
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
        "damaged, or no file of torch.save",
    ),
    "flipped.pth": (lambda path: damaged(archive(path, {"a": tensor()})), "damaged"),
    "other.pth": (lambda path: zipfile.ZipFile(path, "w").close(), "no data.pkl"),
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
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_weight_file(tmp_path, name):
    make, told = FILES[name]
    make(tmp_path / name)
    with pytest.raises(UserError) as refused:
        weights.read(tmp_path / name)
    assert told in str(refused.value) and "\n" not in str(refused.value), refused.value

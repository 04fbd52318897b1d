"""Files that lie elsewhere: the copy of them here, on a file system of fsspec in memory."""

import fcntl
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdl.data import Crop, load
from jaxdl.data.recognition import recognize
from jaxdl.files import ADDRESS
from jaxdl.remote import local_path, mirror, storage, weights_path

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def there(tmp_path, monkeypatch):
    """An empty bucket, memory://bucket, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(storage._SCHEMES, "memory", storage._Scheme("fsspec", "none"))
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    return system


@pytest.fixture
def brought(monkeypatch):
    """The names of the files that are brought, in the order of their names."""
    names, get = [], storage.Storage.get

    def told(self, entry, place):
        names.append(entry.path.removeprefix("/bucket/"))
        get(self, entry, place)

    monkeypatch.setattr(storage.Storage, "get", told)

    def since():
        result = sorted(names)
        names.clear()
        return result

    return since


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def put(there, **files):
    for name, content in files.items():
        there.pipe(f"/bucket/{name}", content)


def uploaded(there, folder, name):
    for path, content in tree(folder).items():
        there.pipe(f"/bucket/{name}/{path}", content)


@pytest.fixture
def photos(tmp_path, there):
    """A folder of images, here and there."""
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 255, (6, 6, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    uploaded(there, folder, "photos")
    return folder


def test_a_folder_is_brought_whole_and_once(there, brought, caplog):
    put(there, **{"set/a": b"1", "set/b/c": b"22", "settle": b"other"})
    folder = Path(local_path("memory://bucket/set"))
    assert folder.name == "set" and tree(folder) == {"a": b"1", "b/c": b"22"}
    assert brought() == ["set/a", "set/b/c"]
    (record,) = caplog.records
    assert "memory://bucket/set: downloading 2 of 2 files" in record.getMessage()
    assert str(folder.parent) in record.getMessage()
    assert local_path("memory://bucket/set/") != local_path("memory://bucket/set") == str(folder)


@pytest.mark.parametrize("address", ["memory://bucket", "memory://bucket/set/b/c"])
def test_a_bucket_and_a_file_keep_their_names(there, address):
    put(there, **{"set/a": b"1", "set/b/c": b"22"})
    place = Path(local_path(address))
    assert place.name == address.rpartition("/")[2]
    expected = b"22" if place.is_file() else {"set/a": b"1", "set/b/c": b"22"}
    assert (place.read_bytes() if place.is_file() else tree(place)) == expected


def test_a_pattern_brings_what_matches(there, brought):
    put(there, **{"plays/a.txt": b"to be", "plays/b.txt": b"or not", "plays/c.md": b"x"})
    place = local_path("memory://bucket/plays/*.txt")
    assert place.endswith("/*.txt") and brought() == ["plays/a.txt", "plays/b.txt"]
    splits = load("text", path="memory://bucket/plays/*.txt", tokenize={"t": {"text": "text"}},
                  validation_fraction=0)  # fmt: skip
    assert splits["train"].columns["t"].shape[0] == 2 and brought() == []


def test_only_what_has_changed_is_brought_again(there, brought):
    put(there, **{f"set/{name}": name.encode() for name in "abcd"})
    folder = Path(local_path("memory://bucket/set"))
    brought()
    time.sleep(0.002)  # the tag is a time
    put(there, **{"set/b": b"B", "set/new/e": b"e"})  # as long as before
    there.rm("/bucket/set/c")
    assert tree(Path(local_path("memory://bucket/set"))) == {
        "a": b"a", "b": b"B", "d": b"d", "new/e": b"e"}  # fmt: skip
    assert brought() == ["set/b", "set/new/e"]
    there.rm("/bucket/set/new/e")
    local_path("memory://bucket/set")
    assert not (folder / "new").exists() and brought() == []


def test_what_is_spoilt_here_is_brought_again(there, brought):
    put(there, **{"set/a": b"whole", "set/b": b"2"})
    folder = Path(local_path("memory://bucket/set"))
    (folder / "a").write_bytes(b"wh")
    (folder / "stranger").write_bytes(b"x")
    (folder.parents[1] / "brought.jsonl").open("a").write('["set/b", 1')  # killed while it wrote
    brought()
    assert tree(Path(local_path("memory://bucket/set"))) == {"a": b"whole", "b": b"2"}
    assert brought() == ["set/a"]


def test_an_interrupted_copy_goes_on_and_is_not_read_before(there, brought, monkeypatch, refuses):
    put(there, **{f"set/{i}": bytes(100) for i in range(6)})
    monkeypatch.setattr(mirror, "_AT_ONCE", 1)
    read, calls = type(there).get_file, []

    def breaks(self, path, place, **kwargs):
        calls.append(path)
        if len(calls) == 4:
            Path(place).write_bytes(bytes(50))
            raise ConnectionError("connection reset")
        return read(self, path, place, **kwargs)

    monkeypatch.setattr(type(there), "get_file", breaks)
    with refuses("memory://bucket/set/3: cannot be reached (connection reset); check the network"):
        local_path("memory://bucket/set")
    calls += ["the rest succeeds"]
    brought()
    assert set(tree(Path(local_path("memory://bucket/set"))).values()) == {bytes(100)}
    assert brought() == ["set/3", "set/4", "set/5"]


def test_half_a_file_is_refused(there, monkeypatch, refuses):
    put(there, **{"set/a": b"whole"})
    monkeypatch.setattr(
        type(there), "get_file", lambda self, path, place: Path(place).write_bytes(b"wh")
    )
    with refuses("memory://bucket/set: only 2 of the 5 bytes of set/a arrived; run again"):
        local_path("memory://bucket/set")


def test_a_file_that_is_not_what_is_published_is_refused(there, monkeypatch, refuses):
    put(there, a=b"whole")
    made = storage._entry
    monkeypatch.setattr(storage, "_entry", lambda *args: made(*args)._replace(sha256="0" * 64))
    with refuses("memory://bucket/a: a is not what its published SHA-256 says; run again"):
        local_path("memory://bucket/a")


def test_what_changes_while_it_is_read_is_refused(there, monkeypatch, refuses):
    put(there, **{"set/a": b"1"})
    read = type(there).get_file

    def changes(self, path, place, **kwargs):
        read(self, path, place, **kwargs)
        if path.endswith("a"):
            put(there, **{"set/b": b"2"})

    monkeypatch.setattr(type(there), "get_file", changes)
    with refuses("memory://bucket/set: changed while it was read; run again"):
        local_path("memory://bucket/set")
    assert len(tree(Path(local_path("memory://bucket/set")))) == 2


def test_what_does_not_fit_is_not_begun(there, brought, monkeypatch, refuses):
    put(there, **{"set/a": bytes(2_000)})
    usage = namedtuple("usage", "free")(1_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with refuses("memory://bucket/set: takes 0.0 GB", "make room, name a part of it, or set XDG_"):
        local_path("memory://bucket/set")
    assert brought() == []


@pytest.mark.parametrize("names", [["../a"], ["a", "a/b"], ["x\\y"], ["a/../../b"], ["a\0"], [""]])
def test_names_that_lead_elsewhere_are_refused(there, monkeypatch, refuses, names):
    put(there, a=b"1")
    entry = storage.Entry("/bucket/a", storage.Stamp(1, "t"))
    monkeypatch.setattr(storage.Storage, "files", lambda self: dict.fromkeys(names, entry))
    with refuses("memory://bucket/a", "cannot be a file here; rename it there"):
        local_path("memory://bucket/a")


def test_a_cache_that_others_can_write_is_not_used(there, tmp_path, refuses):
    put(there, a=b"1")
    (tmp_path / "cache").mkdir(mode=0o777)
    (tmp_path / "cache").chmod(0o777)
    with refuses(
        "memory://bucket/a: files are downloaded to the cache, but there is none; set XDG_"
    ):
        local_path("memory://bucket/a")


def test_one_process_brings_and_others_wait(there, brought, caplog):
    put(there, a=b"1")
    place = Path(local_path("memory://bucket/a")).parents[1]
    with (place / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=local_path, args=("memory://bucket/a",))
        waiting.start()
        while "waiting for another process that downloads it" not in caplog.text:
            time.sleep(0.01)
        assert waiting.is_alive()
        fcntl.flock(lock, fcntl.LOCK_UN)
    waiting.join()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (
            "ftp://host/a",
            "ftp:// is not supported; give s3://, gs://, hf:// or https://, or a local",
        ),
        ("file:///tmp/a", "leave file:// out"),
        ("s3://", "names no file; write it as s3://place/file"),
        ("s3:/bucket/a", "names no file; write it as s3://place/file"),
        ("https://host.org", "names no file; write it as https://place/file"),
        ("memory://bucket/none", "no such file, folder or bucket; correct the address"),
        ("memory://bucket/*.none", "there is no file; correct the address"),
    ],
)
def test_addresses_that_name_nothing_are_refused(address, told, refuses):
    with refuses(address, told):
        local_path(address)


@pytest.mark.parametrize("package", ["fsspec", "s3fs", "gcsfs", "huggingface_hub", "aiohttp"])
def test_the_extra_is_named_where_it_is_missing(package, monkeypatch, refuses):
    there = storage.importlib.util.find_spec
    hidden = lambda name: None if name == package else there(name) or True  # noqa: E731
    monkeypatch.setattr(storage.importlib.util, "find_spec", hidden)
    scheme = next((s for s, (p, _) in storage._SCHEMES.items() if p == package), "s3")
    with refuses(f"the package {package} is not installed; pip install -e '.[remote]' in the"):
        local_path(f"{scheme}://place/file")


def test_storage_that_gives_no_answer_is_not_waited_for(there, monkeypatch, refuses):
    monkeypatch.setattr(storage, "_TIMEOUT", 0.05)
    done = threading.Event()
    monkeypatch.setattr(type(there), "info", lambda self, path: done.wait())
    with refuses("memory://bucket/a: no answer within 0.05 seconds; check the network, and"):
        local_path("memory://bucket/a")
    done.set()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError("Forbidden"), "may not be read (Forbidden); give credentials: none"),
        (OSError("odd\nand more"), "cannot be read (OSError: odd); correct it, or copy it here"),
        (TimeoutError("late"), "cannot be reached (late); check the network"),
    ],
)
def test_what_a_library_says_becomes_one_line(there, monkeypatch, refuses, error, told):
    def fails(self, path):
        raise error

    monkeypatch.setattr(type(there), "info", fails)
    with refuses(f"memory://bucket/a: {told}"):
        local_path("memory://bucket/a")


def test_a_path_of_this_machine_stays_as_it_is_and_needs_no_fsspec():
    program = (
        "import sys; from jaxdl.remote import local_path, weights_path\n"
        "assert local_path('~/a b:c') == weights_path('~/a b:c') == '~/a b:c'\n"
        "assert 'fsspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert not ADDRESS.match("C:/x")


def test_a_model_of_the_hub_is_its_weights(monkeypatch):
    asked = []
    monkeypatch.setattr("jaxdl.remote.local_path", lambda path: asked.append(path) or path)
    for path in ("hf://timm/resnet18.a1_in1k", "hf://o/n@main/", "hf://o/n/a.bin", "runs/a"):
        weights_path(path)
    assert asked == ["hf://timm/resnet18.a1_in1k/model.safetensors",
                     "hf://o/n@main/model.safetensors", "hf://o/n/a.bin", "runs/a"]  # fmt: skip


# ---- Sources


def test_images_are_read_as_if_they_were_here(photos):
    here, there = (load("images", path=p, size=6) for p in (str(photos), "memory://bucket/photos"))
    for role, table in here.items():
        assert there[role].classes == table.classes
        for name, column in table.columns.items():
            np.testing.assert_array_equal(there[role].columns[name], column)


def test_init_names_the_address_and_not_the_copy(photos):
    found = recognize("memory://bucket/photos/")
    assert found.source == "images" and found.settings["path"] == "memory://bucket/photos"


def test_a_table_is_found_by_init_in_its_folder(there):
    rows = "".join(f"{i},{i * i}\n" for i in range(40))
    put(there, **{"set/houses.csv": f"size,price\n{rows}".encode()})
    found = recognize("memory://bucket/set")
    assert found.source == "csv" and found.settings["path"] == "memory://bucket/set/houses.csv"
    assert load("csv", **found.settings)["train"].columns["target"].shape == (32,)


def test_what_a_file_needs_beside_it_is_brought_too(photos, there, tmp_path, brought):
    (photos / "captions.csv").write_text("image,caption\ncat/0.png,a cat\ndog/1.png,a dog\n")
    uploaded(there, photos, "photos")
    where = {"path": "memory://bucket/photos/captions.csv", "test_fraction": 0}
    read = {"size": 6, "validation_fraction": 0, "tokenize": {"t": {"text": "caption"}}}
    assert len(load("captions", **where, **read)["train"]) == 2
    (photos / "cat" / "0.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (photos / "data.yaml").write_text("names: [a]\ntrain: cat\n")
    uploaded(there, photos, "photos")
    brought()
    load("yolo", path="memory://bucket/photos/data.yaml", size=(6, 6), test_fraction=0)
    assert "photos/cat/0.png" in brought()


def test_arrays_are_brought_by_split(there, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2), np.float32))
    put(there, **{"a.npz": (tmp_path / "a.npz").read_bytes()})
    assert len(load("arrays", train="memory://bucket/a.npz")["train"]) == 3


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        ("tfds", {"dataset": "mnist", "data_dir": "gs://tfds-data/datasets"}),
        ("coco", {"path": ".", "size": (8, 8), "train": ("a.json", "s3://bucket/a")}),
        ("voc", {"path": ".", "size": (8, 8), "images": "s3://bucket/a"}),
    ],
)
def test_settings_within_a_data_set_are_no_addresses(source, settings, refuses):
    with refuses("is not read or written; copy or mount it, and give a local path"):
        load(source, **settings)


def test_a_twin_brings_nothing(brought):
    assert load("images", path="memory://bucket/none", crop=Crop(size=8), twin=True)
    assert brought() == []


COMMANDS = [
    ("train", "--config", "digits_mlp", "--workdir"),
    ("train", "--workdir"),
    ("train", "--extend", "epochs=3", "--workdir"),
    ("check", "--config", "digits_mlp", "--workdir"),
    ("evaluate", "--workdir"),
    ("sweep", "--config", "digits_mlp", "--seeds", "2", "--workdir"),
    ("sweep", "--workdir"),
    ("predict", "a.png", "--workdir"),
    ("explain", "a.png", "--figure", "m.png", "--workdir"),
    ("sample", "--workdir"),
    ("export", "--output", "out", "--workdir"),
    ("verify",),
    ("compare",),
    ("report", "--output", "a.html"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_takes_an_address_for_a_run(words, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = call(*words, "gs://bucket/run")
    assert status == 2 and err.count("\n") == 1
    assert "gs://… cannot hold a run, which needs locks" in err
    assert "copy or mount it, and give a local path" in err
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []

import pickle

import numpy as np
import pytest

from jaxdl.data import validate
from jaxdl.data.sources import arrays


class Trap:
    """Unpickling it would run code."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


@pytest.fixture
def saved(tmp_path):
    def save(name, **columns):
        np.savez(tmp_path / name, **columns)
        return str(tmp_path / name)

    return save


def test_arrays(saved):
    x, label = np.arange(12.0).reshape(6, 2), np.arange(6, dtype=np.int32)
    splits = arrays(
        train=saved("a.npz", x=x, label=label), test=saved("b.npz", x=x + 50, label=label)
    )
    validate(splits)
    assert list(splits) == ["train", "test"]
    np.testing.assert_array_equal(splits["train"].columns["x"], x)
    np.testing.assert_array_equal(splits["test"].columns["x"], x + 50)


NUMBERS = np.arange(6)


@pytest.mark.parametrize(
    ("inputs", "outputs", "names"),
    [
        ("x_{}", "y_{}", ("train", "test")),
        ("X_{}", "Y_{}", ("train", "val", "test")),
        ("{}_images", "{}_labels", ("train", "val", "test")),
    ],
)
def test_one_archive_of_all_splits(saved, inputs, outputs, names, refuses):
    image, label = np.zeros((6, 8, 8, 3), np.uint8), NUMBERS[:, None].astype(np.uint8)
    columns = {inputs.format(n): image[i:] for i, n in enumerate(names)}
    columns |= {outputs.format(n): label[i:] for i, n in enumerate(names)}
    path = saved("a.npz", **columns)
    splits = arrays(path)
    validate(splits)
    assert list(splits) == [{"val": "validation"}.get(name, name) for name in names]
    for i, table in enumerate(splits.values()):
        np.testing.assert_array_equal(table.columns["label"], NUMBERS[i:])
        assert table.columns["image"].shape == (6 - i, 8, 8, 3)
    with refuses("has the splits train, ", "leave the other files out"):
        arrays(path, test=saved("b.npz", image=image))
    with refuses("test_fraction=0.5, but the data has a test split"):
        arrays(path, test_fraction=0.5)


def test_what_the_arrays_of_all_splits_are_called(saved):
    def columns(x, y):
        return {*arrays(saved("a.npz", x_train=x, y_train=y))["train"].columns}

    images, sounds = np.zeros((6, 8, 8), np.uint8), np.zeros((6, 8, 8), np.float32)
    assert columns(images, NUMBERS) == {"image", "label"}
    assert columns(sounds, NUMBERS) == {"x", "label"}
    assert columns(sounds[:, 0], NUMBERS / 2) == {"features", "target"}
    splits = arrays(saved("a.npz", x_train=images, y_train=NUMBERS), grey=("image",))
    assert splits["train"].columns["image"].shape == (6, 8, 8, 1)
    # Not all are of a split, or two are one column: they stay as they are.
    for others in ({"z": NUMBERS}, {"data_train": NUMBERS}):
        kept = arrays(saved("a.npz", x_train=NUMBERS, y_train=NUMBERS, **others))["train"]
        assert {"x_train", "y_train"} < {*kept.columns}


def test_arrays_of_another_byte_order(saved):
    splits = arrays(train=saved("a.npz", x=np.arange(3, dtype=">f4")))
    validate(splits)
    np.testing.assert_array_equal(splits["train"].columns["x"], [0, 1, 2])


def test_arrays_refuses_what_is_no_archive(tmp_path, saved, refuses):
    def path(name, content):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    sound = saved("a.npz", x=np.arange(1000.0))
    np.save(tmp_path / "one.npy", np.arange(3))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    flipped = content[:200] + bytes([content[200] ^ 1]) + content[201:]
    for file, fragments in {
        str(tmp_path / "none.npz"): ["no file"],
        str(tmp_path): ["no file"],
        str(tmp_path / "one.npy"): ["one unnamed array"],
        path("text.npz", b"x,y\n1,2\n"): ["not a sound .npz"],
        path("empty.npz", b""): ["not a sound .npz"],
        path("short.npz", content[:-100]): ["not a sound .npz"],
        path("flipped.npz", flipped): ["not a sound .npz"],
        path("pickle.npz", pickle.dumps(Trap())): ["not a sound .npz"],
        saved("objects.npz", x=np.array([Trap(), None])): ["'x'", "objects", "never unpickled"],
        saved("none.npz"): ["no columns"],
        saved("scalar.npz", x=np.arange(3), n=3): ["'n'", "single value"],
        saved("ragged.npz", x=np.arange(3), label=np.arange(4)): ["the same length"],
    }.items():
        with refuses(file, *fragments):
            arrays(train=sound, test=file)


def test_arrays_refuses_one_file_for_two_splits(tmp_path, saved, refuses):
    file = saved("a.npz", x=np.arange(3))
    (tmp_path / "link.npz").symlink_to(file)
    with refuses("both the train and the test split", "disjoint"):
        arrays(train=file, test=str(tmp_path / "link.npz"))


def test_channels_may_come_first(tmp_path, refuses, caplog):
    image = np.arange(2 * 3 * 8 * 9, dtype=np.uint8).reshape(2, 3, 8, 9)
    np.savez(tmp_path / "a.npz", image=image, label=[0, 1])
    path = str(tmp_path / "a.npz")
    assert arrays(path)["train"].columns["image"].shape == (2, 3, 8, 9)
    assert "channels_first=('image',)" in caplog.text
    caplog.clear()
    made = arrays(path, channels_first=("image",))["train"].columns["image"]
    np.testing.assert_array_equal(made[:, 5, 7], image[:, :, 5, 7])
    assert made.shape == (2, 8, 9, 3) and not caplog.text
    for wrong, fragment in (("none", "no column 'none'"), ("label", "shape (2,)")):
        with refuses(fragment, "channels_first"):
            arrays(path, channels_first=(wrong,))


def test_grey_images_get_an_axis_of_channels(saved, refuses, caplog):
    path = saved("a.npz", image=np.zeros((2, 8, 9), np.uint8), label=[0, 1])
    assert arrays(path)["train"].columns["image"].shape == (2, 8, 9)
    assert "grey=('image',)" in caplog.text
    assert arrays(path, grey=("image",))["train"].columns["image"].shape == (2, 8, 9, 1)
    with refuses("grey", "shape (2,)"):
        arrays(path, grey=("label",))


def test_many_channels_first_are_told(saved, caplog):
    arrays(saved("a.npz", image=np.zeros((2, 6, 8, 8)), label=[0, 1]))
    assert "channels_first=('image',)" in caplog.text
    caplog.clear()
    arrays(saved("b.npz", image=np.zeros((2, 8, 8, 6)), label=[0, 1]))
    assert not caplog.text


def test_fractions_of_one_file(saved, refuses):
    path = saved("a.npz", x=np.arange(10), y=np.arange(10) ** 2)
    splits = arrays(path, test_fraction=0.2, validation_fraction=0.1)
    assert {role: len(table) for role, table in splits.items()} == {
        "train": 7, "validation": 1, "test": 2,
    }  # fmt: skip
    rows = np.concatenate([table.columns["x"] for table in splits.values()])
    assert sorted(rows) == list(range(10))
    assert all((t.columns["y"] == t.columns["x"] ** 2).all() for t in splits.values())
    pairs = arrays(path, test_fraction=0.2, group="y")  # as many groups as rows
    assert len(pairs["test"]) == 2
    pairs = arrays(saved("c.npz", x=np.arange(10), pair=np.arange(10) // 2), 
                   test_fraction=0.2, group="pair")  # fmt: skip
    assert len({*pairs["test"].columns["pair"]}) == 1 and len(pairs["test"]) == 2
    with refuses("no column 'patient'", "group='patient' must name a column of whole numbers"):
        arrays(path, test_fraction=0.2, group="patient")
    with refuses("test_fraction=0.2", "has a test split"):
        arrays(path, test=saved("b.npz", x=np.arange(3)), test_fraction=0.2)


def test_labels_that_are_names_are_classes(saved, refuses):
    x, names = np.arange(12.0).reshape(6, 2), np.array([*"babbab"])
    train = saved("a.npz", x=x, label=names)
    splits = arrays(train=train, test=saved("b.npz", x=x[:2], label=names[:2]))
    validate(splits)
    assert splits["test"].classes == ("a", "b")
    assert splits["train"].columns["label"].tolist() == [1, 0, 1, 1, 0, 1]
    with refuses("label 'c' occurs only in the test split"):
        arrays(train=train, test=saved("c.npz", x=x[:1], label=np.array(["c"])))


def test_arrays_may_be_renamed(saved, refuses):
    path = saved("x.npz", X=np.ones((4, 2)), y=np.arange(4) % 2)
    columns = arrays(path, rename={"X": "features", "y": "label"})["train"].columns
    assert {*columns} == {"features", "label"}
    with refuses("no array 'x' to rename", "X"):
        arrays(path, rename={"x": "features"})
    with refuses("two arrays one name"):
        arrays(path, rename={"X": "y"})


def test_names_in_bytes_are_classes(saved):
    table = arrays(saved("b.npz", label=np.array([b"b", b"\xc3\xa9", b"b"])))
    assert table["train"].classes == ("b", "é")
    assert table["train"].columns["label"].tolist() == [0, 1, 0]

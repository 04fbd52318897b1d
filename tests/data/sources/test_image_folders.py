import numpy as np
import pytest
from PIL import Image

from jaxdl.data import Crop, LazyImages, duplicates, validate
from jaxdl.data.images import conversion
from jaxdl.data.sources import images

RED, BLUE = (255, 0, 0), (0, 0, 255)


def draw(path, colour=RED, size=(6, 6), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path, **options)
    return path


@pytest.fixture
def cats_and_dogs(tmp_path):
    for i in range(60):
        draw(tmp_path / "pets" / "dog" / f"{i}.png", (i, 0, 0))
        draw(tmp_path / "pets" / "cat" / f"{i}.png", (i, 9, 0))
    return tmp_path / "pets"


def test_split_by_hash(cats_and_dogs):
    splits = images(str(cats_and_dogs), size=4, test_fraction=0.25, validation_fraction=0.25)
    validate(splits)
    assert sum(len(table) for table in splits.values()) == 120
    assert all(20 <= len(splits[role]) <= 40 for role in ("validation", "test"))
    assert set(duplicates(splits).values()) == {0}
    assert {table.classes for table in splits.values()} == {("cat", "dog")}
    for table in splits.values():
        image, label = table.columns["image"], table.columns["label"]
        assert image.shape[1:] == (4, 4, 3) and image.dtype == np.uint8 and label.dtype == np.int32
        np.testing.assert_array_equal(image[:, 0, 0, 1] == 0, label)  # dogs have no green


def test_more_images_move_none_between_splits(cats_and_dogs):
    def members():
        splits = images(str(cats_and_dogs), size=1)
        return {role: {bytes(i) for i in t.columns["image"]} for role, t in splits.items()}

    before = members()
    for i in range(60, 90):
        draw(cats_and_dogs / "dog" / f"{i}.png", (i, 0, 0))
    after = members()
    assert before["train"] < after["train"] and before["test"] <= after["test"]


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_split_by_folder(tmp_path, validation):
    for i, split in enumerate(("train", validation, "test")):
        for name in ("x", "y"):
            draw(tmp_path / split / name / "a.png", (i, 0, 0))
    draw(tmp_path / ".hidden" / "a.png")
    (tmp_path / "README.md").write_text("two classes")
    splits = images(str(tmp_path), size=2)
    assert {role: len(table) for role, table in splits.items()} == {
        "train": 2, "validation": 2, "test": 2,
    }  # fmt: skip
    assert [int(splits[r].columns["image"].max()) for r in ("train", "validation", "test")] == [
        0, 1, 2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.png", "RGB", {}),
        ("a.png", "RGBA", {}),
        ("a.png", "P", {}),
        ("a.png", "P", {"transparency": bytes([255] * 256)}),
        ("a.gif", "P", {}),
        ("a.bmp", "RGB", {}),
        ("a.tif", "CMYK", {}),
        ("a.jpg", "RGB", {"quality": 100}),
        ("a.jpg", "CMYK", {"quality": 100}),
        ("a.webp", "RGB", {"lossless": True}),
        ("no_suffix", "RGB", {"format": "PNG"}),
    ],
)
def test_every_form_of_red(tmp_path, name, mode, options):
    draw(tmp_path / "c" / name, mode=mode, **options)
    image = images(str(tmp_path), size=2, test_fraction=0.0)["train"].columns["image"]
    np.testing.assert_allclose(image, np.full((1, 2, 2, 3), RED), atol=3)


def test_channels(tmp_path):
    draw(tmp_path / "c" / "a.png", BLUE)
    for channels, pixel in {1: [29], 3: [0, 0, 255], 4: [0, 0, 255, 255]}.items():
        splits = images(str(tmp_path), size=3, channels=channels, test_fraction=0.0)
        assert splits["train"].columns["image"][0, 0, 0].tolist() == pixel


def test_the_middle_of_a_wide_image_is_kept(tmp_path):
    stripes = np.zeros((4, 12, 3), np.uint8)
    stripes[:, 4:8] = 200
    (tmp_path / "c").mkdir()
    Image.fromarray(stripes).save(tmp_path / "c" / "a.png")
    image = images(str(tmp_path), size=4, test_fraction=0.0)["train"].columns["image"]
    np.testing.assert_array_equal(image, np.full((1, 4, 4, 3), 200))


def test_a_photograph_is_turned_upright(tmp_path):
    upright = np.zeros((4, 4, 3), np.uint8)
    upright[:2] = 255
    turned = Image.fromarray(np.rot90(upright))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees, clockwise, to see it upright
    (tmp_path / "c").mkdir()
    turned.save(tmp_path / "c" / "a.png", exif=exif)
    image = images(str(tmp_path), size=4, test_fraction=0.0)["train"].columns["image"]
    np.testing.assert_array_equal(image[0], upright)


@pytest.mark.parametrize(
    ("spoil", "fragments"),
    [
        (lambda file: file.write_bytes(b""), ["b.png", "empty file"]),
        (lambda file: file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0"), ["b.png", "not an image"]),
        (lambda file: file.write_text("a note"), ["b.png", "not an image"]),
        (lambda file: file.write_bytes(file.read_bytes()[:-30]), ["b.png", "damaged"]),
        (lambda file: file.write_bytes(file.read_bytes()[:20]), ["b.png"]),
        (lambda file: (file.unlink(), file.mkdir()), ["b.png", "is a folder"]),
        (lambda file: (file.unlink(), file.symlink_to("gone")), ["b.png", "no such file"]),
        (
            lambda file: Image.fromarray(np.zeros((4, 4), np.float32)).save(file, "TIFF"),
            ["b.png", "more than 16 bits"],
        ),
    ],
)
def test_names_the_bad_file(tmp_path, refuses, spoil, fragments):
    draw(tmp_path / "c" / "a.png")
    noise = np.random.RandomState(0).randint(0, 255, (9, 9, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "c" / "b.png")
    spoil(tmp_path / "c" / "b.png")
    with refuses(*fragments):
        images(str(tmp_path), size=4, test_fraction=0.0)


@pytest.fixture
def partly_damaged(cats_and_dogs, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cats, dogs = cats_and_dogs / "cat", cats_and_dogs / "dog"
    cut = np.random.RandomState(0).randint(0, 255, (9, 9, 3), np.uint8)
    Image.fromarray(cut).save(cats / "3.png")
    (cats / "3.png").write_bytes((cats / "3.png").read_bytes()[:-30])
    (cats / "7.png").write_bytes(b"")
    (dogs / "5.png").write_text("<html>not found</html>")
    (dogs / "6.png").unlink()
    (dogs / "6.png").symlink_to("gone")
    return cats_and_dogs


@pytest.mark.parametrize("seen", [{"size": 4}, {"crop": Crop(4, resize=4)}])
def test_damaged_images_are_left_out_and_no_other_moves(partly_damaged, caplog, seen):
    found = images(str(partly_damaged), **seen, skip=4)
    told = caplog.messages[-1]
    assert "left out 4 of 120" in told
    for name in ("cat/3.png: a damaged", "cat/7.png: an empty", "dog/5.png: not an", "dog/6.png"):
        assert name in told
    for file in ("cat/3.png", "cat/7.png", "dog/5.png", "dog/6.png"):
        (partly_damaged / file).unlink()
    rest = images(str(partly_damaged), **seen)
    for role, table in rest.items():
        for name, column in table.columns.items():
            np.testing.assert_array_equal(column[:], found[role].columns[name][:])


def test_what_is_damaged_is_remembered_until_a_file_changes(partly_damaged, caplog):
    for looked in (1, 0):
        caplog.clear()
        assert sum(map(len, images(str(partly_damaged), size=4, skip=9).values())) == 116
        assert sum("decoding all 120 once" in line for line in caplog.messages) == looked
    draw(partly_damaged / "cat" / "7.png")
    assert sum(map(len, images(str(partly_damaged), size=4, skip=9).values())) == 117


def test_more_damaged_images_than_may_be_left_out(partly_damaged, refuses):
    with refuses("4 are damaged, but skip=3", "cat/3.png: a damaged image", "dog/6.png"):
        images(str(partly_damaged), size=4, skip=3)
    for file in (partly_damaged / "dog").iterdir():
        file.unlink()
        file.write_bytes(b"")
    with refuses("class 'dog' has no readable image in the train split"):
        images(str(partly_damaged), size=4, skip=100)


def test_refuses_folders_that_are_no_data(tmp_path, refuses):
    with refuses("no folder", "none"):
        images(str(tmp_path / "none"), size=4)
    draw(tmp_path / "file" / "a.png")
    with refuses("no folder"):
        images(str(tmp_path / "file" / "a.png"), size=4)
    with refuses("a.png", "not in the folder of a class"):
        images(str(tmp_path / "file"), size=4)
    (tmp_path / "bare").mkdir()
    with refuses("bare", "has no folders"):
        images(str(tmp_path / "bare"), size=4)


def test_refuses_an_empty_class(cats_and_dogs, refuses):
    (cats_and_dogs / "bird").mkdir()
    (cats_and_dogs / "bird" / ".keep").touch()
    with refuses("bird", "is empty"):
        images(str(cats_and_dogs), size=4)


def test_refuses_splits_that_do_not_fit(tmp_path, refuses):
    draw(tmp_path / "train" / "x" / "a.png")
    draw(tmp_path / "test" / "y" / "a.png")
    with refuses("'y'", "test split", "none in the train split"):
        images(str(tmp_path), size=4)
    draw(tmp_path / "val" / "x" / "a.png")
    draw(tmp_path / "valid" / "x" / "a.png")
    with refuses("second validation split"):
        images(str(tmp_path), size=4)
    draw(tmp_path / "cat" / "a.png")
    with refuses("cat", "next to", "train"):
        images(str(tmp_path), size=4)


def test_refuses_a_split_that_no_image_falls_into(tmp_path, refuses):
    draw(tmp_path / "c" / "a.png")
    with refuses("none is in the validation split", "validation_fraction=0.001"):
        images(str(tmp_path), size=4, test_fraction=0.0, validation_fraction=0.001)


@pytest.mark.parametrize(
    ("settings", "fragment"),
    [
        (dict(size=0), "size=0"),
        (dict(skip=-1), "skip=-1"),
        (dict(channels=2), "channels=2"),
        (dict(test_fraction=1.0), "test_fraction=1.0"),
        (dict(validation_fraction=-0.5), "validation_fraction=-0.5"),
        (dict(size=10**7), "GB"),
        (dict(size=None), "give either size"),
        (dict(crop=Crop(4)), "give either size"),
    ],
)
def test_refuses_settings(cats_and_dogs, refuses, settings, fragment):
    with refuses("images", fragment):
        images(str(cats_and_dogs), **{"size": 4, **settings})


def test_with_crop_images_stay_on_the_disk(cats_and_dogs, refuses):
    held = images(str(cats_and_dogs), size=4)
    splits = images(str(cats_and_dogs), crop=Crop(4, resize=4))
    validate(splits)
    for role, table in splits.items():
        image, label = table.columns["image"], table.columns["label"]
        assert isinstance(image, LazyImages) and image.shape == (len(table), 4, 4, 3)
        np.testing.assert_array_equal(image[:], held[role].columns["image"])
        np.testing.assert_array_equal(label, held[role].columns["label"])
        assert table.classes == held[role].classes
    (cats_and_dogs / "cat" / "0.png").write_bytes(b"")
    with refuses(cats_and_dogs / "cat" / "0.png", "empty file"):
        for table in images(str(cats_and_dogs), crop=Crop(4)).values():
            table.train_view(np.arange(len(table)), np.zeros(len(table), int), 0)


def test_imagenets_tree(tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        for wnid in ("n01440764", "n01443537"):
            for i in range(count):
                draw(tmp_path / split / wnid / f"{wnid}_{i}.JPEG", size=(50 + i, 40))
    splits = images(str(tmp_path), crop=Crop(16))
    assert {role: t.columns["label"].tolist() for role, t in splits.items()} == {
        "train": [0, 0, 0, 1, 1, 1], "validation": [0, 0, 1, 1],
    }  # fmt: skip
    assert splits["train"].classes == ("n01440764", "n01443537")
    np.testing.assert_allclose(
        splits["validation"].columns["image"][:], np.full((4, 16, 16, 3), RED), atol=3
    )


def test_what_systems_leave_behind_is_not_data(cats_and_dogs):
    def count():
        return sum(map(len, images(str(cats_and_dogs), size=2).values()))

    before = count()
    for name in ("Thumbs.db", "desktop.ini", "._1.png", ".DS_Store"):
        (cats_and_dogs / "cat" / name).write_bytes(b"x")
    for folder in ("@eaDir", "__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN"):
        (cats_and_dogs / folder).mkdir()
        (cats_and_dogs / "dog" / folder).mkdir()
    assert count() == before


def test_a_name_in_two_unicode_forms_is_one_class(tmp_path):
    draw(tmp_path / "train" / "a\u0300" / "1.png")  # as macOS writes à
    draw(tmp_path / "train" / "b" / "1.png")
    draw(tmp_path / "test" / "\u00e0" / "1.png")  # as others do
    draw(tmp_path / "test" / "b" / "1.png")
    splits = images(str(tmp_path), size=2)
    assert splits["train"].classes == ("b", "\u00e0")
    assert splits["test"].columns["label"].tolist() == [0, 1]


def test_a_class_may_be_called_as_a_split(tmp_path, refuses):
    for name in ("bus", "train"):
        for i in range(20):
            draw(tmp_path / name / f"{i}.png", (i, 0, 0))
    with refuses("all splits", "splits={}"):
        images(str(tmp_path), size=2)
    assert images(str(tmp_path), size=2, splits={})["train"].classes == ("bus", "train")


def test_splits_may_have_any_name(tmp_path, refuses):
    for name in ("Training", "fit", "held_out"):
        draw(tmp_path / "usual" / name.replace("fit", "TESTING") / "x" / "1.png")
        draw(tmp_path / "own" / name / "x" / "1.png")
    (tmp_path / "usual" / "held_out").rename(tmp_path / "usual" / "Dev")
    assert {*images(str(tmp_path / "usual"), size=2)} == {"train", "validation", "test"}
    own = str(tmp_path / "own")
    assert {*images(own, size=2, splits={"train": "fit", "test": "held_out"})} == {"train", "test"}
    for wrong in ({"test": "fit"}, {"train": "fit", "dev": "held_out"}):
        with refuses("splits=", "'train'"):
            images(own, size=2, splits=wrong)
    with refuses("leads out"):
        images(own, size=2, splits={"train": "../usual"})


def test_a_fraction_is_taken_out_of_train_or_refused(tmp_path, refuses):
    for split, count in (("train", 60), ("test", 5)):
        for i in range(count):
            draw(tmp_path / split / "x" / f"{i}.png", (i, 0, 0))
    assert {r: len(t) for r, t in images(str(tmp_path), size=2).items()} == {"train": 60, "test": 5}
    splits = images(str(tmp_path), size=2, validation_fraction=0.3)
    assert len(splits["train"]) + len(splits["validation"]) == 60 and len(splits["test"]) == 5
    with refuses("test_fraction=0.3", "has a test split"):
        images(str(tmp_path), size=2, test_fraction=0.3)


@pytest.mark.parametrize("fit", ["crop", "squeeze", "pad"])
def test_images_need_not_be_square(tmp_path, fit):
    """Left red, right blue, twice as wide as high, in a frame that is as high as wide."""
    halves = np.zeros((8, 16, 3), np.uint8)
    halves[:, :8, 0], halves[:, 8:, 2] = 255, 255
    halves[:, :2], halves[:, -2:] = 9, 9
    (tmp_path / "c").mkdir()
    Image.fromarray(halves).save(tmp_path / "c" / "a.png")
    (image,) = images(str(tmp_path), size=(8, 8), test_fraction=0, fit=fit)["train"].columns[
        "image"
    ]
    row = image[4].tolist()
    if fit == "crop":
        assert row == [[255, 0, 0]] * 4 + [[0, 0, 255]] * 4
    else:
        assert max(row[0] + row[-1]) < 60  # its dark ends are seen
    assert image[0].max() == (0 if fit == "pad" else 255)
    wide = images(str(tmp_path), size=(4, 8), test_fraction=0, fit=fit)["train"].columns["image"]
    assert wide.shape == (1, 4, 8, 3) and wide[0, 0, 0].max() < 60


def test_a_crop_that_loses_much_is_told_once(tmp_path, caplog):
    for i in range(3):
        draw(tmp_path / "c" / f"{i}.png", size=(30, 10))
    conversion._told.clear()
    images(str(tmp_path), size=8, test_fraction=0)
    images(str(tmp_path), size=8, test_fraction=0)
    assert len(caplog.messages) == 1 and "67 %" in caplog.messages[0]
    assert "fit='pad'" in caplog.messages[0]


def test_a_word_names_the_split_of_a_folder_of_folders(tmp_path, refuses):
    for split, counts in (("train", 3), ("test", 1)):
        for kind in ("cat", "dog"):
            for i in range(counts):
                draw(tmp_path / "pets" / f"pets-{split}" / kind / f"{i}.png", (i, 0, 0))
                draw(tmp_path / "twice" / f"seg_{split}/seg_{split}" / kind / f"{i}.png")
    for folder in ("pets", "twice"):
        splits = images(str(tmp_path / folder), size=2)
        assert {role: len(t) for role, t in splits.items()} == {"train": 6, "test": 2}
        assert splits["test"].classes == ("cat", "dog")
    for kind in ("bullet-train", "test_car"):
        for i in range(20):
            draw(tmp_path / "rail" / kind / f"{i}.png", (i, 0, 0))
    assert images(str(tmp_path / "rail"), size=2)["train"].classes == ("bullet-train", "test_car")
    draw(tmp_path / "pets" / "pets-Training" / "cat" / "1.png")
    with refuses("second train split"):
        images(str(tmp_path / "pets"), size=2)


def test_a_mask_beside_its_image_is_left_out_and_told(tmp_path, caplog):
    for kind in ("benign", "malignant"):
        for i in range(10):
            draw(tmp_path / kind / f"{kind} ({i}).png")
            draw(tmp_path / kind / f"{kind} ({i})_mask.png")
        draw(tmp_path / kind / f"{kind} (0)_mask_1.png")
        draw(tmp_path / kind / "in a mask.png")
    splits = images(str(tmp_path), size=2)
    assert sum(map(len, splits.values())) == 22
    assert "left out" in caplog.text and "benign (0)_mask.png" in caplog.text


def test_a_folder_without_classes_beside_classes_is_left_out_and_told(cats_and_dogs, caplog):
    def read(**settings):
        caplog.clear()
        return images(str(cats_and_dogs), size=2, **settings)

    draw(cats_and_dogs / "test" / "a.png")
    assert read()["train"].classes == ("cat", "dog")
    assert f"left out {cats_and_dogs / 'test'}, whose images are of no class" in caplog.text
    assert read(splits={}, test_fraction=0.0)["train"].classes == ("cat", "dog", "test")
    assert not caplog.messages
    (cats_and_dogs / "train").mkdir()
    for kind in ("cat", "dog"):
        (cats_and_dogs / kind).rename(cats_and_dogs / "train" / kind)
    draw(cats_and_dogs / "unlabeled" / "b.png")
    assert {*read()} == {"train"} and "test, " in caplog.text and "unlabeled, whose" in caplog.text


def test_a_class_may_be_called_valid(cats_and_dogs):
    for kind, name in (("cat", "valid"), ("dog", "invalid")):
        (cats_and_dogs / kind).rename(cats_and_dogs / name)
    assert images(str(cats_and_dogs), size=2)["train"].classes == ("invalid", "valid")

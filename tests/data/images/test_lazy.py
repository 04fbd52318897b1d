"""Images decoded on demand: the pixels, their determinism, and what is wrong with a file."""

import hashlib
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from jaxdl.data import Crop, LazyImages, Table, duplicates, validate
from jaxdl.data.images import jpeg, pixels
from jaxdl.data.images.crops import draws
from jaxdl.data.images.lazy import EncodedFiles, EncodedInMemory


def picture(height=90, width=120, seed=0):
    """Smooth, so that a JPEG of it is near it, and unlike itself anywhere else."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 216, (3, 4, 3), np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def encoded(image, format="JPEG", mode="RGB", **options):
    stream = BytesIO()
    Image.fromarray(image).convert(mode).save(stream, format, **{"quality": 92, **options})
    return stream.getvalue()


def photos(*images, crop=None, **options):
    return LazyImages(EncodedInMemory(images, "here"), crop or Crop(32, resize=40), **options)


JPEGS = [
    encoded(
        picture(90 + 7 * i, 120 - 5 * i, i),
    )
    for i in range(11)
]
ZEROS = np.zeros(11, int)


def train(column, rows=range(11), epoch=0, seed=0):
    rows = np.asarray(rows)
    return column.train_view(rows, np.full_like(rows, epoch), seed)


def test_a_column_looks_like_an_array():
    column = photos(*JPEGS)
    assert (len(column), column.ndim, column.nbytes) == (11, 4, 11 * 32 * 32 * 3)
    assert column.shape == (11, 32, 32, 3) and column.dtype == np.uint8
    whole = column[:]
    for rows in (3, -1, slice(2, 9, 3), [4, 4, 0], np.array([[1, 2], [3, 0]]), ZEROS == 1):
        np.testing.assert_array_equal(column[rows], whole[rows])
    with pytest.raises(IndexError):
        column[11]
    table = Table({"image": column, "label": np.arange(11)})
    validate({"train": table})
    assert table.train_view(ZEROS[:0], ZEROS[:0], 0)["image"].shape == (0, 32, 32, 3)


def test_evaluation_sees_what_torchvision_would():
    """Resize(40) and CenterCrop(32) of the image as Pillow opens it, to the pixel."""
    for i, image in enumerate(photos(*JPEGS)[:]):
        opened = Image.open(BytesIO(JPEGS[i]))
        height, width = opened.height, opened.width
        short = min(height, width)
        size = int(40 * width / short), int(40 * height / short)
        whole = np.asarray(opened.resize(size, Image.Resampling.BILINEAR))
        top, left = (round((n - 32) / 2) for n in whole.shape[:2])
        np.testing.assert_array_equal(image, whole[top : top + 32, left : left + 32])


def test_training_sees_the_part_that_is_drawn():
    """Near what Pillow makes of it: decoding is coarser in colour, and scaled."""
    crop, uniform = Crop(16, area=(0.5, 1.0)), draws(np.arange(11), ZEROS, 5)
    seen = photos(*JPEGS, crop=crop).train_view(np.arange(11), ZEROS, 5)
    errors = []
    for i, image in enumerate(seen):
        whole = np.asarray(Image.open(BytesIO(JPEGS[i])))
        top, left, h, w = crop.random_box(*whole.shape[:2], uniform[i])
        part = Image.fromarray(whole).resize(
            (16, 16), Image.Resampling.BOX, box=(left, top, left + w, top + h)
        )
        assert min(h, w) > 32  # so it was decoded at half its size, or less
        errors.append(np.abs(np.asarray(part, int) - image).mean())
    assert np.mean(errors) < 3  # a part elsewhere, or of another size, is ten times as far


def test_the_same_images_whatever_the_threads_and_the_batch():
    one, many = (photos(*JPEGS * 3, threads=n) for n in (1, 7))
    rows, epochs = np.arange(33), np.arange(33) % 2
    drawn = one.train_view(rows, epochs, 9)
    turn = np.random.default_rng(0).permutation(33)
    np.testing.assert_array_equal(many.train_view(rows[turn], epochs[turn], 9), drawn[turn])
    np.testing.assert_array_equal(many.train_view(rows[7:8], epochs[7:8], 9), drawn[7:8])
    folded = many.train_view(rows.reshape(3, 11), epochs.reshape(3, 11), 9)
    np.testing.assert_array_equal(folded.reshape(drawn.shape), drawn)
    np.testing.assert_array_equal(many[:], one[:])


def test_another_process_draws_the_same(tmp_path):
    for i, data in enumerate(JPEGS):
        (tmp_path / f"{i}.jpg").write_bytes(data)
    code = (
        "import sys, hashlib, numpy as np\n"
        "from pathlib import Path\n"
        "from jaxdl.data import Crop, LazyImages\n"
        "from jaxdl.data.images.lazy import EncodedFiles\n"
        "files = EncodedFiles(Path(sys.argv[1]), [f'{i}.jpg' for i in range(11)])\n"
        "images = LazyImages(files, Crop(32, resize=40))\n"
        "drawn = images.train_view(np.arange(11), np.full(11, 4), 2)\n"
        "print(hashlib.sha256(drawn.tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = hashlib.sha256(train(photos(*JPEGS), epoch=4, seed=2).tobytes()).hexdigest()
    assert done.stdout.strip() == expected


def test_each_epoch_seed_and_example_has_a_draw_of_its_own():
    column = photos(*[JPEGS[0]] * 11)
    seen = {train(column, [i], e, s).tobytes() for i in (0, 1) for e in (0, 1) for s in (0, 1)}
    assert len(seen) == 8


def test_ten_views():
    column = photos(*JPEGS, crop=Crop(32, resize=40, views=10))
    assert column.shape == (11, 32, 32, 3) and column.views == 10
    seen = column[np.arange(4).reshape(2, 2)]
    assert seen.shape == (2, 2, 10, 32, 32, 3)
    middle = photos(*JPEGS)[:4].reshape(2, 2, 32, 32, 3)
    np.testing.assert_array_equal(seen[:, :, 4], middle)
    np.testing.assert_array_equal(seen[:, :, 9], middle[:, :, :, ::-1])
    assert train(column).shape == (11, 32, 32, 3)
    assert Table({"image": column}).views == 10


@pytest.mark.parametrize(
    ("format", "mode", "options"),
    [
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", dict(progressive=True)),
        ("JPEG", "RGB", dict(subsampling=0)),
        ("JPEG", "RGB", dict(keep_rgb=True)),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("PNG", "LA", {}),
        ("WEBP", "RGB", dict(lossless=True)),
    ],
)
def test_every_form(format, mode, options):
    image = picture()
    column = photos(encoded(image, format, mode, **options))
    expected = photos(encoded(image if "L" not in mode else grey(image), "PNG"))
    tolerance = 8 if mode == "P" else 3
    for ours, theirs in ((column[:], expected[:]), (train(column, [0]), train(expected, [0]))):
        assert np.abs(ours.astype(int) - theirs).mean() < tolerance


def grey(image):
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels(channels):
    column = photos(*JPEGS[:3], channels=channels)
    assert column[:].shape == train(column, range(3)).shape == (3, 32, 32, channels)
    for seen in (column[:], train(column, range(3))):
        assert seen.std() > 10 and (channels < 4 or (seen[..., 3] == 255).all())


def test_a_photograph_is_turned_upright(monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees, clockwise, to see it upright
    upright = picture(60, 90)
    turned = photos(encoded(np.rot90(upright), exif=exif, quality=95))
    expected = photos(encoded(upright, quality=95))
    for seen in (lambda column: column[0], lambda column: train(column, [0])[0]):
        assert np.abs(seen(turned).astype(int) - seen(expected)).mean() < 3
    exif[0x0112] = 1  # upright already, as most are: the quick way
    monkeypatch.setattr(pixels, "whole", None)
    noted = photos(encoded(upright, exif=exif, quality=95))
    np.testing.assert_array_equal(train(noted, [0]), train(expected, [0]))


def test_large_images_are_decoded_smaller(monkeypatch):
    shrunk, decode = [], jpeg.decode

    def noting(data, shrink=1, **options):
        shrunk.append(shrink)
        return decode(data, shrink, **options)

    monkeypatch.setattr(jpeg, "decode", noting)
    image = picture(800, 801)
    column = photos(*[encoded(image)] * 40, crop=Crop(32, area=(0.01, 1.0)))
    drawn = train(column, range(40))
    assert {1, 2, 4, 8} >= set(shrunk) > {8}
    plain = photos(*[encoded(image, "PNG")] * 40, crop=Crop(32, area=(0.01, 1.0)))
    assert np.abs(drawn.astype(int) - train(plain, range(40))).mean() < 3


SOUND = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        (b"", ["empty file"]),
        (b"<html>404</html>", ["not an image"]),
        (SOUND[: len(SOUND) // 2], ["damaged", "truncated"]),
        (SOUND[:-300], ["damaged", "truncated"]),
        (SOUND[:30], []),
        (encoded(np.zeros((9, 9), np.float32), "TIFF", "F"), ["more than 16 bits"]),
        (b"GIF89a", ["here example 2"]),
        (b"\xff\xd8\xff\xe0" + bytes(40), []),
        (b"%!PS-Adobe-3.0 EPSF-3.0", ["not an image"]),
        (encoded(picture(), "PNG")[:-500], ["damaged"]),
    ],
)
def test_names_the_bad_image(refuses, content, fragments):
    column = photos(*JPEGS[:2], content, *JPEGS[2:])
    for see in (lambda: column[:], lambda: train(column, range(12))):
        with refuses("here example 2", *fragments):
            see()


def test_what_follows_the_image_does_no_harm():
    column = photos(SOUND, SOUND + b"\0" * 20 + b"a note")
    np.testing.assert_array_equal(column[0], column[1])


def test_files(tmp_path, refuses):
    for i, data in enumerate(JPEGS):
        (tmp_path / f"{i}.jpg").write_bytes(data)
    names = [f"{i}.jpg" for i in range(11)]
    column = LazyImages(EncodedFiles(tmp_path, names), Crop(32, resize=40))
    np.testing.assert_array_equal(column[:], photos(*JPEGS)[:])
    before = bytes(column.fingerprint())
    assert before == bytes(LazyImages(EncodedFiles(tmp_path, names), Crop(8)).fingerprint())
    assert before != bytes(LazyImages(EncodedFiles(tmp_path, names[1:]), Crop(8)).fingerprint())
    (tmp_path / "4.jpg").write_bytes(JPEGS[4] + b"0")
    assert before != bytes(column.fingerprint())
    (tmp_path / "7.jpg").unlink()
    with refuses(tmp_path / "7.jpg", "no such file"):
        column[:]
    with refuses(tmp_path / "7.jpg", "no such file"):
        column.fingerprint()


def test_duplicates_are_told_by_what_is_encoded(monkeypatch):
    monkeypatch.setattr(pixels, "whole", None)
    monkeypatch.setattr(jpeg, "decode", None)
    label = np.zeros(5, np.int32)
    splits = {
        "train": Table({"image": photos(*JPEGS[:5]), "label": label}),
        "test": Table({"image": photos(*JPEGS[3:8]), "label": label}),
        "validation": Table({"image": photos(*JPEGS[3:8]), "label": label + 1}),
    }
    assert duplicates(splits) == {
        ("train", "test"): 2, ("train", "validation"): 0, ("test", "validation"): 0,
    }  # fmt: skip

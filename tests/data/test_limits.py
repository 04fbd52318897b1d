"""Images that ask for more than they are: refused by what their heads say, whoever reads them."""

import re
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from jaxdl.data import Crop, LazyImages, limits
from jaxdl.data.images import pixels
from jaxdl.data.images.canvas import Canvases
from jaxdl.data.images.lazy import EncodedInMemory
from jaxdl.data.sources import captions, images, yolo

SIDE = 65_500


def encoded(format, size=(16, 16), **options):
    stream = BytesIO()
    Image.new("RGB", size, (9, 9, 9)).save(stream, format, **options)
    return stream.getvalue()


def claiming(format, height, width):
    """A small image of which the head says that it is of this size."""
    frames = [Image.new("RGB", (16, 16))]
    content = bytearray(encoded(format, save_all=format == "WEBP", append_images=frames))
    big, little = (
        b"".join(n.to_bytes(4, order) for n in (width, height)) for order in ("big", "little")
    )
    match format:
        case "PNG":
            content[16:24] = big
            content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        case "JPEG":
            at = content.index(b"\xff\xc0") + 5
            content[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
        case "GIF":
            content[6:10] = little[:2] + little[4:6]
        case "BMP":
            content[18:26] = little
        case "PPM":
            content = b"P6 %d %d 255\n" % (width, height) + bytes(300)
        case "TIFF":
            for tag, value in ((256, width), (257, height)):
                at = content.index(tag.to_bytes(2, "little") + b"\4\0\1\0\0\0") + 8
                content[at : at + 4] = value.to_bytes(4, "little")
        case "WEBP":  # animated, so that no frame needs to be of its size
            assert content[12:16] == b"VP8X"
            content[24:30] = b"".join((n - 1).to_bytes(3, "little") for n in (width, height))
    return bytes(content)


FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


def held(content, root):
    (root / "class").mkdir()
    (root / "class" / "a").write_bytes(content)
    images(str(root), size=4, test_fraction=0.0)


def trained_on(content, root):
    LazyImages(EncodedInMemory([content], "here"), Crop(4)).train_view(
        np.zeros(1, int), np.zeros(1, int), 0
    )


def evaluated(content, root):
    LazyImages(EncodedInMemory([content], "here"), Crop(4))[0]


def on_a_canvas(content, root):
    Canvases(EncodedInMemory([content], "here"), [(4, 4)], ["here"], (8, 8))[0]


def with_boxes(content, root):
    for folder, name, text in (("images", "a.png", content), ("labels", "a.txt", b"0 .5 .5 .2 .2")):
        (root / folder / "train").mkdir(parents=True)
        (root / folder / "train" / name).write_bytes(text)
    (root / "classes.txt").write_text("cat\n")
    yolo(str(root), (8, 8), lazy=True)


def with_captions(content, root):
    (root / "a.png").write_bytes(content)
    (root / "c.csv").write_text("image,caption\na.png,a dog\n")
    captions(str(root / "c.csv"), size=4, validation_fraction=0.0, test_fraction=0.0)


def shown_to_a_detector(content, root):
    (root / "a.png").write_bytes(content)
    pixels.read(root / "a.png", 3)


def of_its_own_size(content, root):
    pixels.decode([content], np.empty((1, 16, 16, 3), np.uint8), str, fit=None)


WAYS = (held, trained_on, evaluated, on_a_canvas, with_boxes, with_captions, shown_to_a_detector,
        of_its_own_size)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("format", FORMATS)
def test_no_decoder_makes_room_for_what_a_head_claims(tmp_path, refuses, format, way):
    with refuses(limits.TOO_LARGE):
        way(claiming(format, SIDE, SIDE), tmp_path)


@pytest.mark.parametrize("format", FORMATS)
def test_the_limit_is_the_same_for_every_format(format):
    above = claiming(format, 2**14 + 1, 2**14)
    with pytest.raises(ValueError, match=re.escape(limits.TOO_LARGE)):
        pixels.size(above, upright=False)
    height, width = 2**14, 2**14 - 1
    assert pixels.size(claiming(format, height, width), upright=False) == (height, width)


def test_a_photograph_of_two_hundred_megapixels_is_decoded():
    stream = BytesIO()
    Image.new("L", (16320, 12240), 7).save(stream, "PNG", compress_level=1)
    canvas = np.empty((1, 4, 4, 1), np.uint8)
    pixels.decode([stream.getvalue()], canvas, str, fit="crop")
    assert (canvas == 7).all()


def test_of_a_strip_only_what_is_seen_is_scaled():
    strips = LazyImages(EncodedInMemory([encoded("PNG", (60_000, 1))], "here"), Crop(224))
    rows = np.zeros(1, int)
    assert strips[rows].shape == strips.train_view(rows, rows, 0).shape == (1, 224, 224, 3)


def scanned(times):
    """A progressive JPEG whose last scan is repeated."""
    content = encoded("JPEG", (4096, 4096), progressive=True)
    *_, last = content.removesuffix(b"\xff\xd9").split(b"\xff\xda")
    return content[:-2] + times * (b"\xff\xda" + last) + b"\xff\xd9"


@pytest.mark.parametrize("way", (held, trained_on, evaluated))
@pytest.mark.parametrize("junk", (b"", b"\xff\0", b"\xff"))
def test_a_jpeg_of_very_many_scans_is_refused_at_once(tmp_path, refuses, way, junk):
    content = scanned(10_000)
    start = time.monotonic()
    with refuses("JPEG of more than", " scans;"):
        way(content[:2] + junk + content[2:], tmp_path)
    assert time.monotonic() - start < 20  # ten minutes, otherwise


def test_scans_in_what_follows_or_precedes_a_picture_do_not_count():
    notes = b"\xff\xe4\x80\x02" + b"\xff\xda" * 0x4000
    content = encoded("JPEG", (4096, 4096), progressive=True)
    content = content[:2] + notes + content[2:] + b"\xff\xda" * 5000
    limits.require_scans(content, 4096, 4096)
    assert pixels.whole(content, 3).shape == (4096, 4096, 3)


def test_a_jpeg_of_very_many_segments_is_refused_at_once(tmp_path, refuses):
    content = encoded("JPEG")
    segments = (b"\xff\xe1\xff\xff" + b"Exif\0\0".ljust(0xFFFD)) * 1001
    for way in (held, trained_on, evaluated, with_boxes):
        root = tmp_path / way.__name__
        root.mkdir()
        with refuses("more than 1,000 segments"):
            way(content[:2] + b"\xff\0" + segments + content[2:], root)


def test_large_images_are_decoded_one_at_a_time():
    assert limits.in_turn(4096, 4097) is limits.in_turn(2**14, 2**14)
    assert limits.in_turn(4096, 4096) is not limits.in_turn(2**14, 2**14)


def test_a_pipe_or_device_is_not_waited_for(tmp_path, refuses):
    import os

    (tmp_path / "class").mkdir()
    os.mkfifo(tmp_path / "class" / "a.png")
    (tmp_path / "class" / "b.png").symlink_to("/dev/zero")
    for crop in (dict(size=4), dict(crop=Crop(4))):
        with refuses("not a file"):
            images(str(tmp_path), test_fraction=0.0, **crop)["train"][np.arange(2)]

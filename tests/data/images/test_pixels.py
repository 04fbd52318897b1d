"""One reader of images: however they are decoded, the same picture."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from jaxdl.data import Crop, LazyImages
from jaxdl.data.images import conversion, jpeg, pixels
from jaxdl.data.images.lazy import EncodedInMemory

UPRIGHT = np.full((24, 32, 3), 230, np.uint8)
UPRIGHT[:12, :16], UPRIGHT[:12, 16:] = (220, 30, 30), (30, 220, 30)


def stored(orientation):
    """As a camera stores it that notes this orientation."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    image = Image.fromarray(UPRIGHT)
    return image.transpose(undo[orientation]) if orientation in undo else image


def exif(value):
    note = Image.Exif()
    note[0x0112] = value
    return note.tobytes()


def xmp(value):
    return (
        b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
        % value
    )


def saved(image, format="JPEG", **options):
    stream = BytesIO()
    image.save(stream, format, **{"quality": 95} | options if format == "JPEG" else options)
    return stream.getvalue()


def segments(plain, *parts):
    """A JPEG with more segments after its first."""
    at = 4 + int.from_bytes(plain[4:6], "big")
    made = b"".join(bytes([255, m]) + struct.pack(">H", len(b) + 2) + b for m, b in parts)
    return plain[:at] + made + plain[at:]


def ways(content):
    """Held, evaluated, trained on, and as a detector and `predict` read it: (24, 32, 3) each."""
    held = np.empty((1, 24, 32, 3), np.uint8)
    pixels.decode([content], held, lambda i: "it", "squeeze")
    crop = Crop(24, area=(1.0, 1.0), ratio=(0.1, 10.0), resize=24)
    lazy = LazyImages(EncodedInMemory([content], "it"), crop)
    zero = np.zeros(1, int)
    trained = cv2_size(lazy.train_view(zero, zero, 0)[0])
    return [held[0], pixels.whole(content, 3), lazy._whole(0).copy(), trained]


def cv2_size(image):
    return np.asarray(Image.fromarray(image).resize((32, 24)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["exif", "after a comment", "xmp", "png", "tiff", "webp"])
def test_every_orientation_wherever_it_stands(kind, orientation):
    image = stored(orientation)
    content = {
        "exif": lambda: saved(image, exif=exif(orientation)),
        "after a comment": lambda: segments(
            saved(image), (0xFE, b"a comment"), (0xE1, exif(orientation))
        ),
        "xmp": lambda: segments(saved(image), (0xE1, xmp(orientation))),
        "png": lambda: saved(image, "PNG", exif=exif(orientation)),
        "tiff": lambda: saved(image, "TIFF", tiffinfo={274: orientation}),
        "webp": lambda: saved(image, "WEBP", lossless=True, exif=exif(orientation)),
    }[kind]()
    assert pixels.size(content) == (24, 32)
    for seen in ways(content):
        assert np.abs(seen.astype(int) - UPRIGHT)[4:8, 4:12].max() < 25
        assert np.abs(seen.astype(int) - UPRIGHT)[4:8, 20:28].max() < 25


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_what_is_no_orientation_turns_nothing(value):
    content = saved(Image.fromarray(UPRIGHT), exif=exif(value))
    assert pixels.size(content) == (24, 32) and pixels.is_upright(content)


def test_a_plain_jpeg_is_decoded_fast():
    assert jpeg.size(saved(Image.fromarray(UPRIGHT))) == (24, 32)


def one(content, channels=3):
    return pixels.whole(content, channels)[0, 0].tolist()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_put_on_white(mode):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert("RGBA" if mode == "P" else mode)
    image = image.quantize(2) if mode == "P" else image
    assert one(saved(image, "PNG")) == [255, 255, 255] and one(saved(image, "PNG"), 1) == [255]
    assert one(saved(image, "PNG"), 4)[3] == 0
    half = Image.new("RGBA", (4, 4), (200, 0, 0, 128))
    assert one(saved(half, "PNG")) == [227, 127, 127]


def png16(values, kind):
    def chunk(name, data):
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    head = struct.pack(">IIBBBBB", *values.shape[1::-1], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_of_16_bits_the_upper_8_are_taken(kind, channels):
    values = np.full((4, 4, channels), 0xFFFF)
    values[..., : 1 if channels < 3 else 3] = 0x8123
    assert one(png16(values, kind)) == [0x81] * 3
    values[..., : 1 if channels < 3 else 3] = 0x0123  # as a sensor of 12 bits fills them
    with pytest.raises(ValueError, match="almost black"):
        pixels.whole(png16(values, kind), 3)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("white", [0, 1])
def test_of_some_tiffs_0_is_white(bits, white):
    """Scanners and radiography write such: photometric interpretation 0 (TIFF 6.0, page 37)."""
    values = np.full((4, 4), 40, np.uint8)
    stored = values if white else 255 - values
    content = stored.repeat(bits // 8).tobytes()  # 40 of 255 is 40 * 257 of 65535
    tags = {256: 4, 257: 4, 258: bits, 259: 1, 262: white, 273: 8, 277: 1, 278: 4}
    tags |= {279: len(content)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(content)) + content
    tiff = head + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert (pixels.whole(tiff, 1) == 40).all()


def test_16_bits_that_hold_bytes_are_refused_in_color_too():
    values = np.arange(48).reshape(4, 4, 3) * 5
    ppm = b"P6\n4 4\n65535\n" + values.astype(">u2").tobytes()
    for content in (png16(values, 2), ppm):
        with pytest.raises(ValueError, match="almost black"):
            pixels.whole(content, 3)
    assert not pixels.whole(png16(0 * values, 2), 3).any()
    assert pixels.whole(b"P6\n4 4\n1023\n" + (values * 4).astype(">u2").tobytes(), 3).max() > 200


def test_depths_between_8_and_16():
    values = np.array([[0, 4095]], ">u2")
    assert pixels.whole(b"P5\n2 1\n4095\n" + values.tobytes(), 1).ravel().tolist() == [0, 255]


def test_a_long_line_takes_little_memory():
    line = np.zeros((1, 6000, 3), np.uint8)
    column = LazyImages(EncodedInMemory([saved(Image.fromarray(line), "PNG")], "it"), Crop(224))
    assert column.crop.longest(line).shape == (1, 16, 3)
    assert column.crop.longest(UPRIGHT) is not None and column[:].shape == (1, 224, 224, 3)


def with_chunk(content, name, data):
    """A PNG with one more chunk, after its head."""
    check = struct.pack(">I", zlib.crc32(name + data))
    return content[:33] + struct.pack(">I", len(data)) + name + data + check + content[33:]


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3)])
@pytest.mark.parametrize("deep", [False, True])
def test_one_color_may_be_transparent(kind, channels, deep):
    value = 0x8123 if deep else 0x81
    values = np.full((4, 4, channels), value)
    values[0, 0] = 0xFFFF if deep else 0xFF
    mode = np.squeeze(values).astype(np.uint8)
    plain = png16(values, kind) if deep else saved(Image.fromarray(mode), "PNG")
    content = with_chunk(plain, b"tRNS", struct.pack(f">{channels}H", *[value] * channels))
    assert pixels.whole(content, 3).min() == 255 and pixels.whole(content, 1).min() == 255
    assert pixels.whole(content, 4)[..., 3].sum() == 255


def test_what_vanishes_on_white_and_what_is_dark_is_told_once(caplog):
    conversion._told.clear()
    white = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
    white.paste((255, 255, 255, 255), (0, 0, 2, 2))
    dark = np.full((4, 4, 1), 0x3FFF)
    for _ in range(2):
        pixels.whole(saved(white, "PNG"), 3)
        pixels.whole(saved(white, "PNG"), 4)
        assert one(png16(dark, 0), 1) == [0x3F]
        assert one(png16(0 * dark, 0), 1) == [0]
    assert len(caplog.messages) == 3
    for told in ("would be all white", "put on white", "14 at most"):
        assert told in caplog.text


def test_what_is_opaque_or_bright_is_not_told(caplog):
    conversion._told.clear()
    pixels.whole(saved(Image.new("RGBA", (4, 4), (9, 9, 9, 255)), "PNG"), 3)
    pixels.whole(png16(np.full((4, 4, 1), 0x7FFF), 0), 1)
    assert not caplog.messages

"""What the tests of the data room share."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keeps the tests out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def png():
    """An array (height, width[, channels]) of uint8 as the bytes of a PNG file."""

    def encode(pixels):
        stream = BytesIO()
        Image.fromarray(np.squeeze(pixels)).save(stream, "PNG")
        return stream.getvalue()

    return encode


@pytest.fixture
def picture():
    """`picture(path, height, width)` writes a picture, upright or turned, and returns it."""

    def write(path, height=30, width=40, seed=0, orientation=1):
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(seed).integers(30, 226, (3, 4, 3), np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(path, quality=95, exif=exif) if orientation != 1 else image.save(path)
        return np.asarray(Image.open(path).convert("RGB"))

    return write


@pytest.fixture
def draw(tmp_path):
    """`draw(*names)` writes grey images below the test's folder, and returns its path."""

    def write(*names, size=(40, 20)):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, (9, 9, 9)).save(tmp_path / name)
        return str(tmp_path)

    return write

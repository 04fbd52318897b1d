"""What the tests of boxes share: pictures on disk."""

import numpy as np
import pytest
from PIL import Image


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

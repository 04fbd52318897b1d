"""What the tests of the data room share."""

from contextlib import contextmanager
from io import BytesIO

import numpy as np
import pytest

from jaxdl.errors import UserError


@pytest.fixture
def refuses():
    """`with refuses('this', 'and that'):` expects a UserError of one line that says both."""

    @contextmanager
    def expect(*fragments):
        with pytest.raises(UserError) as caught:
            yield
        message = str(caught.value)
        assert "\n" not in message
        assert [f for f in fragments if str(f) not in message] == [], message

    return expect


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keeps the tests out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def png():
    """An array (height, width[, channels]) of uint8 as the bytes of a PNG file."""
    from PIL import Image

    def encode(pixels):
        stream = BytesIO()
        Image.fromarray(np.squeeze(pixels)).save(stream, "PNG")
        return stream.getvalue()

    return encode

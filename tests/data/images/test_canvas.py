"""Pictures scaled to fit a canvas."""

import numpy as np
import pytest
from PIL import Image

from jaxdl.data import Table, duplicates, validate
from jaxdl.data.images.canvas import Canvases, fit
from jaxdl.data.images.lazy import EncodedFiles


@pytest.mark.parametrize(
    ("shape", "size", "scale", "extent"),
    [
        ((30, 40), (60, 80), 2.0, (60, 80)),
        ((30, 40), (60, 60), 1.5, (45, 60)),
        ((40, 30), (60, 60), 1.5, (60, 45)),
        ((480, 640), (240, 320), 0.5, (240, 320)),
        ((100, 333), (50, 64), 64 / 333, (19, 64)),
        ((1, 1000), (8, 8), 0.008, (1, 8)),
    ],
)
def test_a_picture_is_as_large_as_its_canvas_holds(shape, size, scale, extent):
    image = np.full((*shape, 3), 200, np.uint8)
    canvas, by, taken = fit(image, size)
    assert (by, taken) == (pytest.approx(scale), extent)
    assert canvas.shape == (*size, 3) and canvas.dtype == np.uint8
    assert (canvas[: extent[0], : extent[1]] == 200).all()
    assert canvas.sum() == 200 * 3 * extent[0] * extent[1]


def test_what_is_in_it_is_where_the_scale_says():
    image = np.zeros((90, 120, 3), np.uint8)
    image[30:60, 15:75] = 255
    canvas, scale, _ = fit(image, (48, 48))
    down, right = np.nonzero(canvas[..., 0] > 127)
    box = np.array([right.min(), down.min(), right.max() + 1, down.max() + 1])
    np.testing.assert_allclose(box, np.array([15, 30, 75, 60]) * scale, atol=0.6)


@pytest.fixture
def column(tmp_path, picture):
    """Twenty pictures as a column, and what each is."""

    def make(size=(24, 32), count=20, **options):
        shapes = [(30 + i, 40 - i) for i in range(count)]
        images = [picture(tmp_path / f"{i}.png", *shape, seed=i) for i, shape in enumerate(shapes)]
        files = EncodedFiles(tmp_path, [f"{i}.png" for i in range(count)])
        where = [f"notes {i}" for i in range(count)]
        return Canvases(files, shapes, where, size, **options), images

    return make


def test_a_column_holds_what_fit_makes(column):
    canvases, images = column()
    expected = np.stack([fit(image, (24, 32))[0] for image in images])
    assert canvases.shape == (20, 24, 32, 3) and canvases.dtype == np.uint8
    np.testing.assert_array_equal(canvases[:], expected)
    np.testing.assert_array_equal(canvases.read("here"), expected)
    for rows in (3, -1, [4, 4, 0], np.array([[1, 2], [3, 0]])):
        np.testing.assert_array_equal(canvases[rows], expected[rows])
    rows = np.array([[5, 1]])
    np.testing.assert_array_equal(canvases.train_view(rows, rows, 7), expected[rows])
    one, _ = column(threads=1)
    np.testing.assert_array_equal(one[:], expected)


def test_a_column_can_be_trained_on(column):
    tables = {role: Table({"image": column()[0]}, role) for role in ("train", "test")}
    validate(tables)
    assert duplicates(tables) == {("train", "test"): 20}


def test_a_turned_picture_is_as_its_annotations_have_it(tmp_path, picture):
    """A camera's note says: turn it by a quarter. Some tools do, and some do not."""
    image = picture(tmp_path / "a.jpg", 30, 40, orientation=6)
    files = EncodedFiles(tmp_path, ["a.jpg"])
    upright = np.asarray(Image.fromarray(image).transpose(Image.Transpose.ROTATE_270))
    stored, turned = (
        Canvases(files, [shape], ["notes"], (40, 40))[0] for shape in ((30, 40), (40, 30))
    )
    np.testing.assert_array_equal(stored, fit(image, (40, 40))[0])
    np.testing.assert_array_equal(turned, fit(upright, (40, 40))[0])


def test_a_square_turned_picture_is_as_stored_or_upright(tmp_path, picture):
    image = picture(tmp_path / "a.jpg", 40, 40, orientation=6)
    files = EncodedFiles(tmp_path, ["a.jpg"])
    stored, turned = (
        Canvases(files, [(40, 40)], ["notes"], (40, 40), upright=u)[0] for u in (False, True)
    )
    np.testing.assert_array_equal(stored, image)
    expected = Image.fromarray(image).transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(turned, np.asarray(expected))


def test_refuses_what_is_not_there_or_not_sound(refuses, tmp_path, picture):
    picture(tmp_path / "a.png", 30, 40)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    (tmp_path / "c.png").write_text("hello")
    files = EncodedFiles(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    canvases = Canvases(files, [(30, 41), *[(30, 40)] * 3], list("wxyz"), (24, 32))
    for row, fragments in enumerate(
        [("w: says 30×41", "a.png has 30×40"), ("b.png", "damaged"), ("c.png", "not an image"),
         ("d.png", "no such file")]
    ):  # fmt: skip
        with refuses(*fragments):
            canvases[row]


def test_refuses_what_memory_does_not_hold(refuses, column):
    canvases, _ = column(size=(10**6, 10**6))
    with refuses("here", "GB"):
        canvases.read("here")


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_note_that_leaves_the_shape_is_told_once(tmp_path, picture, caplog, orientation):
    """The boxes may be of the picture as stored or as shown: the shape does not say."""
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.jpg", 30, 40, orientation=orientation)
    files = EncodedFiles(tmp_path, ["a.jpg", "b.jpg"])
    Canvases(files, [(30, 40)] * 2, ["", ""], (30, 40), upright=True)[:]
    assert not caplog.messages
    Canvases(files, [(30, 40)] * 2, ["", ""], (30, 40), threads=1)[:]
    assert len(caplog.messages) == (orientation > 1)

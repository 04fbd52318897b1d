"""Clips against a loop that looks for each frame by its number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import Clips, Crop, Lazy, Table, clip, duplicates, load
from jaxdl.data.clips import Frames
from jaxdl.training.build import build_experiment
from jaxdl.training.check import check_shapes
from jaxdl.transforms import TRANSFORMS, compose


def table(drives, frames, images=None, order=None):
    """Images that are their row, of these drives and frame numbers."""
    images = np.arange(len(frames), dtype=np.uint8) if images is None else images
    columns = {
        "image": np.broadcast_to(images[:, None, None, None], (len(images), 2, 3, 1)),
        "drive": np.array(drives),
        "frame": np.array(frames),
    }
    return Table(columns, "my drives")


def rows(made):
    return made.columns["image"][:][..., 0, 0, 0].tolist()


def clipped(given, **how):
    return clip({"train": given}, Clips(**{"within": ("drive",), **how}))["train"]


def test_a_clip_ends_with_its_frame_and_begins_no_earlier_than_its_drive():
    made = clipped(table([0, 0, 0, 1, 1], [0, 1, 2, 0, 1]), length=3)
    assert rows(made) == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [3, 3, 3], [3, 3, 4]]
    assert list(made.columns) == ["image", "drive", "frame"] and made.where == "my drives"
    np.testing.assert_array_equal(made.columns["frame"], [0, 1, 2, 0, 1])


def test_a_clip_ends_at_a_gap():
    made = clipped(table([0] * 5, [3, 4, 9, 10, 11]), length=3)
    assert rows(made) == [[0, 0, 0], [0, 0, 1], [2, 2, 2], [2, 2, 3], [2, 3, 4]]


def test_what_columns_were_at_the_first_frame():
    given_ = table([0, 0, 0, 1, 1], [0, 1, 2, 0, 1])
    angles = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    given_ = Table({**given_.columns, "steering": angles}, "my drives")
    made = clipped(given_, length=3, first=("steering", "frame"))
    assert made.columns["first_steering"].tolist() == [0.1, 0.1, 0.1, 0.4, 0.4]
    assert made.columns["first_frame"].tolist() == [0, 0, 0, 0, 0]
    np.testing.assert_array_equal(made.columns["steering"], angles)
    assert clipped(given_, length=2, first=("frame",)).columns["first_frame"].tolist() == [
        0, 0, 1, 0, 0,
    ]  # fmt: skip


def by_hand(drives, frames, length, stride):
    """Frame by frame: back from the last, as long as none is missing."""
    place = {pair: row for row, pair in enumerate(zip(drives, frames, strict=True))}
    found = []
    for drive, frame in zip(drives, frames, strict=True):
        first = frame
        while (drive, first - 1) in place:
            first -= 1
        wanted = [max(first, frame - stride * back) for back in range(length)[::-1]]
        found.append([place[drive, number] for number in wanted])
    return found


@given(
    st.sets(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1),
    st.integers(1, 4),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_clips_of_any_order_and_any_gaps(pairs, length, stride, random):
    pairs = sorted(pairs)
    random.shuffle(pairs)
    drives, frames = zip(*pairs, strict=True)
    made = clipped(table(drives, frames), length=length, stride=stride)
    assert rows(made) == by_hand(drives, frames, length, stride)


def test_frames_are_gathered_and_not_kept():
    frames = np.random.RandomState(0).randint(0, 255, (50, 4, 5, 3)).astype(np.uint8)
    index = np.random.RandomState(1).randint(0, 50, (20, 6))
    made = Frames(frames, index)
    assert isinstance(made, Lazy) and made.frames is frames
    assert made.shape == (20, 6, 4, 5, 3) and made.dtype == np.uint8 and made.ndim == 5
    chosen = np.array([[3, 1], [0, 19]])
    np.testing.assert_array_equal(made[chosen], frames[index[chosen]])
    np.testing.assert_array_equal(made.train_view(chosen, np.ones_like(chosen), 7), made[chosen])
    np.testing.assert_array_equal(made[3], frames[index[3]])


def test_identity_is_that_of_frames_and_of_what_they_make():
    frames = np.arange(40, dtype=np.uint8).reshape(10, 2, 2, 1)
    index = np.arange(20).reshape(5, 4) % 10
    made, again = Frames(frames, index), Frames(frames.copy(), index.astype(np.int32))
    np.testing.assert_array_equal(made.fingerprint(), again.fingerprint())
    for other in (Frames(frames + 1, index), Frames(frames, index[::-1])):
        assert (made.fingerprint() != other.fingerprint()).any()
    assert len({row.tobytes() for row in made.digests()}) == len(np.unique(index, axis=0))


def test_clips_that_two_splits_share_are_found():
    splits = {"train": table([0, 0, 0], [0, 1, 2]), "test": table([0, 0], [1, 2], np.uint8([1, 2]))}
    for length, shared in ((1, 2), (2, 1), (3, 0)):
        made = clip(splits, Clips(length, within=("drive",)))
        alone = {role: Table({"image": t.columns["image"]}, t.where) for role, t in made.items()}
        assert duplicates(alone) == {("train", "test"): shared}


@pytest.mark.parametrize(
    ("how", "fragments"),
    [
        (dict(length=0), ["length=0", "at least 1"]),
        (dict(length=2, stride=0), ["stride=0"]),
        (dict(length=2, within=("road",)), ["my drives", "no column 'road'", "config.data.clips"]),
        (dict(length=2, frame="number"), ["no column 'number'"]),
        (dict(length=2, column="picture"), ["no column 'picture'"]),
        (dict(length=2, first=("angle",)), ["no column 'angle'", "config.data.clips"]),
        (dict(length=2, within=("image",)), ["'image'", "one whole number for each example"]),
        (dict(length=2, within=()), ["examples 0 and 3 are both frame 0", "clips.within"]),
    ],
)
def test_refuses(refuses, how, fragments):
    with refuses(*fragments):
        clipped(table([0, 0, 0, 1, 1], [0, 1, 2, 0, 1]), **how)


def test_refuses_to_replace_a_column(refuses):
    given_ = table([0, 0], [0, 1])
    twice = Table({**given_.columns, "first_drive": np.zeros(2)}, "my drives")
    with refuses("my drives", "'first_drive' exists already", "config.data.columns"):
        clipped(twice, length=2, first=("drive",))


def test_refuses_frame_numbers_that_are_not_whole(refuses):
    given_ = table([0, 0], [0, 1])
    seconds = Table({**given_.columns, "frame": np.array([0.0, 0.1])}, "my drives")
    with refuses("'frame'", "whole number", "float64"):
        clipped(seconds, length=2)


def test_refuses_images_that_are_made_on_demand(refuses):
    photographs = load("tfds", twin=True, dataset="imagenette", crop=Crop(8), test=None)["train"]
    number = {"frame": np.arange(len(photographs)), "drive": np.zeros(len(photographs), int)}
    made = Table({**photographs.columns, **number}, "photographs")
    with refuses("'image'", "decoded on demand", "config.data.crop"):
        clipped(made, length=2)


# ---- In a batch

DRAWN = ("color_jitter", "cutout", "random_affine", "random_crop", "random_erasing", "random_flip",
         "random_shadow")  # fmt: skip
SETTINGS = {
    "color_jitter": dict(brightness=0.5, contrast=0.0, saturation=0.5),
    "cutout": dict(size=3),
    "random_affine": dict(rotate=20.0),
    "random_crop": dict(padding=2),
    "random_erasing": dict(probability=0.9, value="noise"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_clip_is_changed_alike_in_all_frames(name):
    image = np.random.RandomState(0).randint(0, 255, (6, 8, 7, 3)).astype(np.uint8)
    frames = jnp.asarray(np.stack([image, image[::-1]], axis=1))
    transform, key = jax.jit(TRANSFORMS[name](**SETTINGS.get(name, {}))), jax.random.key(0)
    done = np.asarray(transform({"image": frames}, key)["image"])
    for frame in range(2):
        alone = transform({"image": frames[:, frame]}, key)["image"]
        np.testing.assert_array_equal(done[:, frame], alone)
    assert (done[:, 0] != frames[:, 0]).any()


def test_a_clip_played_backwards_ends_with_what_was_first():
    clips = jnp.asarray(np.random.RandomState(0).randint(0, 255, (40, 4, 5, 6, 3)), jnp.uint8)
    last, first = jnp.arange(40.0), -jnp.arange(1.0, 41)
    batch = {"image": clips, "steering": last, "first_steering": first, "speed": last}
    done = jax.jit(TRANSFORMS["random_reverse"](swap=("steering",)))(batch, jax.random.key(0))
    backwards = np.asarray(done["steering"]) < 0
    assert 10 < backwards.sum() < 30
    expected = np.where(backwards[:, None, None, None, None], clips[:, ::-1], clips)
    np.testing.assert_array_equal(done["image"], expected)
    np.testing.assert_array_equal(done["steering"], np.where(backwards, first, last))
    np.testing.assert_array_equal(done["first_steering"], np.where(backwards, last, first))
    np.testing.assert_array_equal(done["speed"], last)
    assert done["image"].dtype == jnp.uint8


@pytest.mark.parametrize(
    ("batch", "fragments"),
    [
        ({"image": jnp.zeros((2, 4, 5, 3))}, ["random_reverse", "'image'", "config.data.clips"]),
        ({"picture": jnp.zeros(2)}, ["random_reverse", "no column 'image'"]),
        ({"image": jnp.zeros((2, 2, 4, 5, 3))}, ["random_reverse", "no column 'steering'"]),
        (
            {"image": jnp.zeros((2, 2, 4, 5, 3)), "steering": jnp.zeros(2)},
            ["no column 'first_steering'", "set config.data.clips.first=('steering',)"],
        ),
    ],
)
def test_refuses_to_play_backwards(refuses, batch, fragments):
    with refuses(*fragments):
        TRANSFORMS["random_reverse"](swap=("steering",))(batch, jax.random.key(0))


def config(**data):
    return {
        "data": {
            "source": "tfds", "dataset": "driving", "validation": "validation", "twin": True,
            "columns": ("image", "steering", "drive", "frame"),
            "clips": {"length": 3, "within": ("drive",)},
            "transforms": ({"name": "yuv"}, {"name": "scale"}),
            "augment": ({"name": "random_flip", "negate": ("steering",)},),
            **data,
        },
        "model": {"name": "pilotnet_lstm", "hidden": 8},
        "task": {
            "name": "regression", "input": "image", "target": "steering", "group": "drive",
        },
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
        "training": {"batch_size": 4, "eval_batch_size": 4, "steps": 2},
    }  # fmt: skip


def test_an_experiment_on_clips():
    experiment = build_experiment(config())
    check_shapes(experiment)
    train = experiment.splits["train"]
    assert train.columns["image"].shape == (600, 3, 66, 200, 3)
    feed = experiment.loader()
    batch = feed.make(0, 1)
    feed.close()
    order = experiment.order.rows(0)
    np.testing.assert_array_equal(batch["image"][0], train.columns["image"][order])
    assert experiment.description["columns"]["image"]["shape"] == [3, 66, 200, 3]


@pytest.mark.parametrize(
    ("clips", "fragments"),
    [
        (3, ["config.data.clips", "expected a dict"]),
        ({}, ["config.data.clips.length", "missing"]),
        ({"length": "3"}, ["config.data.clips.length", "expected int"]),
        ({"lenght": 3}, ["config.data.clips.lenght", "did you mean 'length'"]),
        ({"length": 0}, ["config.data.clips", "length=0"]),
        ({"length": 3}, ["config.data", "twin of driving", "clips.within"]),
        ({"length": 3, "within": "drive"}, ["config.data.clips.within", "list of str"]),
        ({"length": 3, "within": ("drives",)}, ["no column 'drives'"]),
    ],
)
def test_refuses_configs(refuses, clips, fragments):
    with refuses(*fragments):
        build_experiment(config(clips=clips))


def test_no_clips_are_single_frames(refuses):
    with refuses("config.model", "takes clips", "set config.data.clips"):
        check_shapes(build_experiment(config(clips=None)))
    composed = compose([TRANSFORMS["yuv"](), TRANSFORMS["scale"]()])
    x = jnp.zeros((2, 3, 4, 5, 3), jnp.uint8)
    assert composed({"image": x}, jax.random.key(0))["image"].shape == x.shape

"""A drawn road to steer along: the twin of `driving`, whose curvature gives the steering angle."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8

from jaxdl.data.splits import random_state
from jaxdl.data.table import Table

_HEIGHT, _WIDTH = 66, 200  # of an image
_HORIZON = 4.0  # rows above it are sky
_FOCUS = 110.0  # focal length, in pixels
_EYE = 1.2  # height of the camera, in metres
_HALF = 3.5  # of the road's width, in metres
_FRAMES = {"train": 300, "validation": 50, "test": 50}  # of each drive, in the order of time
_SEAM = 10  # frames left out between two splits
# Of each drive: the colours of ground and road, frames a second, and metres a second.
_DRIVES = (
    ((118, 128, 62), (112, 112, 108), 14, 11.0),
    ((78, 68, 60), (58, 56, 64), 10, 8.0),
)


def road() -> dict[str, Table]:
    """Two drives along drawn roads, seen from the car, cut into splits by time.

    The ground is rough; the road has two edges and a broken line in its middle, and bends as the
    driver steers. Where it is nearly straight the angle is 0, as with a keyboard.

    Returns:
      600 train, 100 validation and 100 test examples; `image` (N, 66, 200, 3) uint8, `steering`
      in [-1, 1], positive to the right, `throttle` and `speed` (N,) float32, `drive`, `frame` and
      `timestamp_ms` (N,) int64, and `file_name` (N,) of str.
    """
    drives = [_drive(number) for number in range(len(_DRIVES))]
    splits, begin = {}, 0
    for role, count in _FRAMES.items():
        parts = [{k: v[begin : begin + count] for k, v in columns.items()} for columns in drives]
        together = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        splits[role] = Table(together, f"twin of driving, {role} split")
        begin += count + _SEAM
    return splits


def _drive(number: int) -> dict[str, np.ndarray]:
    """The columns of one drive, from its first frame to its last."""
    count = sum(_FRAMES.values()) + _SEAM * (len(_FRAMES) - 1)
    random = random_state("road", 0, number)
    ground, paving, rate, metres = _DRIVES[number]
    frame = np.arange(count)
    bend = _waves(frame, random)
    travelled = np.cumsum(np.full(count, metres / rate))
    drift = 0.3 * random.uniform(-1, 1, count)  # of the car from the middle, in metres
    image = _draw(0.03 * bend, drift, travelled, np.array([ground, paving]), random)
    names = np.array([f"drive{number}/{i:05}.jpg" for i in frame], object)
    steering = np.maximum(bend - 0.2, 0) - np.maximum(-bend - 0.2, 0)
    return {
        "drive": np.full(count, number),
        "file_name": names,
        "frame": frame,
        "image": image,
        "speed": np.full(count, 2.237 * metres, np.float32),  # in miles an hour
        "steering": np.clip(steering, -1, 1).astype(np.float32),
        "throttle": np.full(count, 0.5, np.float32),
        "timestamp_ms": frame * 1000 // rate,
    }


def _waves(
    frame: Integer[np.ndarray, " n"], random: np.random.RandomState
) -> Float[np.ndarray, " n"]:
    """Smooth over time, and within 1.2 of 0: waves of 20 to 70 frames."""
    periods = np.array([23.0, 37.0, 68.0])
    phases = random.uniform(0, 2 * np.pi, 3)
    return 0.4 * np.sin(2 * np.pi * frame[:, None] / periods + phases).sum(axis=1)


def _draw(
    curvature: Float[np.ndarray, " n"],
    drift: Float[np.ndarray, " n"],
    travelled: Float[np.ndarray, " n"],
    colours: Integer[np.ndarray, "2 3"],
    random: np.random.RandomState,
) -> UInt8[np.ndarray, "n height width 3"]:
    """Camera images of a plane with a road, whose curvature is in 1 / metres."""
    texture = random.uniform(0.75, 1.25, (256, 256)).astype(np.float32)
    row = np.arange(_HEIGHT) + 0.5
    ahead = _FOCUS * _EYE / np.maximum(row - _HORIZON, 0.5)  # metres, of each row
    right = (np.arange(_WIDTH) + 0.5 - _WIDTH / 2) / _FOCUS * ahead[:, None]
    sky = row < _HORIZON
    fade = np.exp(-ahead / 60)[:, None, None].astype(np.float32)  # what is far is hazy
    haze = np.array([150, 170, 190], np.float32)
    images = np.empty((len(curvature), _HEIGHT, _WIDTH, 3), np.uint8)
    for i, image in enumerate(images):
        middle = curvature[i] * ahead**2 / 2 - drift[i]
        aside = (right - middle[:, None]).astype(np.float32)
        along = (ahead + travelled[i]).astype(np.float32)
        rough = texture[
            (4 * along).astype(np.int32)[:, None] % 256, (4 * aside).astype(np.int32) % 256
        ]
        seen = _surface(aside, along, colours) * rough[..., None]
        seen = haze + fade * (seen - haze)
        seen[sky] = haze
        image[:] = np.clip(seen, 0, 255)
    return images


def _surface(
    aside: Float32[np.ndarray, "height width"],
    along: Float32[np.ndarray, " height"],
    colours: Integer[np.ndarray, "2 3"],
) -> Float32[np.ndarray, "height width 3"]:
    """The colour of each place: ground, road, edges, and a line in the middle."""
    off = np.abs(aside)
    dash = (off < 0.12) & (along[:, None] % 6 < 3)
    edge = np.abs(off - _HALF) < 0.2
    kind = np.where(edge | dash, 2, (off < _HALF).astype(int))
    return np.array([*colours, (225, 215, 170)], np.float32)[kind]

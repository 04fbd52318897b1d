"""Random-resized crops of JPEGs a second and core: jaxdl's, PyTorch's, and what decoding costs.

    pip install torch==2.13.0
    TFDS_DATA_DIR=… taskset -c 1 python experiments/benchmarks/image_pipeline.py [--rounds 7]

On imagenet_samples (1000 images of ImageNet, shorter side 256) each round makes the same 1000
crops of 224×224, in batches of 100: every way once, in turn. The images are in memory, encoded,
unless a name says otherwise. What counts is CPU time, of all threads and worker processes.

simplejpeg alone decodes the same images at the same scale and throws the pixels away: the limit of
any pipeline that decodes whole images by libjpeg-turbo. PyTorch's DataLoader has two workers that
open with Pillow, as torchvision's RandomResizedCrop does, and hand over uint8. tf.data, where
TensorFlow is installed, decodes the crop alone (decode_and_crop_jpeg), and resizes it.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections.abc import Callable
from io import BytesIO

import numpy as np

SIZE, BATCH = 224, 100
Way = Callable[[], object]


def cpu_seconds() -> float:
    """Of this process and its children, whether they have ended or not."""
    total, ticks = time.process_time(), os.sysconf("SC_CLK_TCK")
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def ways() -> dict[str, Way]:
    """By name; each makes all crops once."""
    from jaxdl.data import Crop, LazyImages
    from jaxdl.data.images import jpeg
    from jaxdl.data.images.crops import draws
    from jaxdl.data.images.lazy import EncodedInMemory, shrinkage
    from jaxdl.data.sources import tfds
    from jaxdl.runtime import keep_freed_memory

    keep_freed_memory()  # as the command does
    crop = Crop(SIZE)
    records = tfds("imagenet_samples", test=None, crop=crop)["train"].columns["image"]
    images = [records.encoded.read(i) for i in range(len(records))]
    rows, epochs = np.arange(len(images)), np.zeros(len(images), int)
    uniform = draws(rows, epochs, 0)
    shrinks = [
        shrinkage(crop.random_box(*jpeg.size(data), u), SIZE)
        for data, u in zip(images, uniform, strict=True)
    ]

    def alone(quick: bool) -> Way:
        return lambda: [
            jpeg.decode(d, s, quick=quick) for d, s in zip(images, shrinks, strict=True)
        ]

    def ours(column: LazyImages) -> Way:
        return lambda: [
            column.train_view(rows[i : i + BATCH], epochs[i : i + BATCH], 0)
            for i in range(0, len(rows), BATCH)
        ]

    return {
        "simplejpeg alone": alone(quick=False),
        "simplejpeg alone, quick": alone(quick=True),
        "jaxdl": ours(LazyImages(EncodedInMemory(images, "here"), crop, threads=1)),
        "jaxdl, from array_record": ours(LazyImages(records.encoded, crop, threads=1)),
        **torch_ways(images),
        **tensorflow_ways(images),
    }


def torch_ways(images: list[bytes]) -> dict[str, Way]:
    """PyTorch's, where it is installed."""
    try:
        import torch
        from torch.utils.data import DataLoader, Dataset
    except ImportError:
        return {}
    from PIL import Image

    class Crops(Dataset):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, i: int) -> torch.Tensor:
            image = Image.open(BytesIO(images[i])).convert("RGB")
            left, top, w, h = rectangle(*image.size)
            box = (left, top, left + w, top + h)
            part = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
            return torch.from_numpy(np.array(part))

    loader = DataLoader(Crops(), BATCH, num_workers=2, persistent_workers=True)
    return {"torch DataLoader, Pillow": lambda: [batch.shape for batch in loader]}


def tensorflow_ways(images: list[bytes]) -> dict[str, Way]:
    """TensorFlow's, where it is installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError:
        return {}

    def crop(data: tf.Tensor) -> tf.Tensor:
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(data),
            tf.zeros((1, 1, 4)),
            area_range=(0.08, 1.0),
            aspect_ratio_range=(3 / 4, 4 / 3),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.stack([begin[0], begin[1], size[0], size[1]])
        part = tf.image.decode_and_crop_jpeg(data, window, channels=3)
        return tf.cast(tf.image.resize(part, (SIZE, SIZE)), tf.uint8)

    threads = len(os.sched_getaffinity(0))
    data = tf.data.Dataset.from_tensor_slices(images).map(crop, threads).batch(BATCH).prefetch(2)
    return {"tf.data": lambda: [batch.shape for batch in data]}


def rectangle(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, width and height, as torchvision's RandomResizedCrop draws them."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= width and h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    contestants = ways()
    for way in contestants.values():
        way()  # warm up
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, way in contestants.items():
            start = cpu_seconds()
            way()
            seconds[name].append(cpu_seconds() - start)
    # Neighbours only ever add to the time, through the caches that are shared: the least counts.
    bare = min(seconds["simplejpeg alone"])
    print(f"{'':28} images/s a core   share of simplejpeg alone   (least of {rounds} rounds)")
    for name, times in seconds.items():
        print(f"{name:28} {1000 / min(times):15,.0f}   {bare / min(times):.2f}")


if __name__ == "__main__":
    main()

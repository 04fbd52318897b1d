"""Transforms: factories, by name, of functions `f(batch, key) -> batch` that run on the device.

They know batches and random keys only; they are pure, run inside the compiled step, and change each
example by itself, except for mixing, which also reads the next one or three of the batch.
To add one, write a factory with typed keyword settings in a file here and add it to `TRANSFORMS`,
or keep it in your own code and name it in the config as `'package.module:factory'`.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxdl.transforms.base import Batch, Transform, compose
from jaxdl.transforms.basic import flatten, scale, standardize, unroll
from jaxdl.transforms.color import color_jitter, pca_color, random_shadow, yuv
from jaxdl.transforms.erasing import cutout, random_erasing
from jaxdl.transforms.geometry import (
    random_affine,
    random_crop,
    random_flip,
    random_reverse,
    views,
)
from jaxdl.transforms.mixing import cutmix, mix, mixup
from jaxdl.transforms.rand_augment import rand_augment
from jaxdl.transforms.with_boxes import mosaic, random_zoom

TRANSFORMS: dict[str, Callable[..., Transform]] = {
    factory.__name__: factory
    for factory in (
        color_jitter,
        cutmix,
        cutout,
        flatten,
        mix,
        mixup,
        mosaic,
        pca_color,
        rand_augment,
        random_affine,
        random_crop,
        random_erasing,
        random_flip,
        random_reverse,
        random_shadow,
        random_zoom,
        scale,
        standardize,
        unroll,
        views,
        yuv,
    )
}

__all__ = ["TRANSFORMS", "Batch", "Transform", "compose"]

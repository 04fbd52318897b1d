"""Augmentation of images with boxes: the boxes move with the image.

The columns are those of `jaxdl.data.images.annotations`. An object is dropped (label -1 and
a box of zeros) where less of it than `keep` is still seen, or less than a pixel a side. A crowd
stays as long as a pixel a side is seen. `random_flip` is in geometry.py; colors in color.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from jaxdl.errors import UserError
from jaxdl.transforms.base import (
    Batch,
    Transform,
    along,
    find_column,
    find_images,
    floating,
    rectangles,
    require_between,
    require_finite,
    restore,
)

Corners = Float[Array, "*boxes corners=4"]
Pair = Float[Array, "*batch 2"]  # down and right


def random_zoom(
    zoom: tuple[float, float] = (0.5, 2.0), keep: float = 0.3, column: str = "image"
) -> Transform:
    """Scale each picture by a random factor; crop a larger one, and move a smaller one, at random.

    Around a smaller picture the canvas is 0. `scale` is multiplied by the factor, and `extent` is
    the lower right corner of the picture.

    Args:
      zoom: least and greatest factor; its logarithm is uniform, so half is as likely as double.
      keep: least share of a box that must still be seen for its object to stay.
      column: of the images. Integers stay integers, rounded.
    """
    require_finite("random_zoom", zoom=zoom)
    _require_keep("random_zoom", keep)
    if len(zoom) != 2 or not 0 < zoom[0] <= zoom[1]:
        raise UserError(f"random_zoom: zoom={zoom}; give two factors above 0, the lower first")

    def transform(batch: Batch, key: PRNGKeyArray) -> Batch:
        x, objects = _images_and_objects(batch, column, "random_zoom")
        size = jnp.array(x.shape[1:3], jnp.float32)
        factors, places = jax.random.split(key)
        low, high = map(math.log, zoom)
        factor = jnp.exp(jax.random.uniform(factors, (len(x),), minval=low, maxval=high))
        scaled = factor[:, None] * batch["extent"]
        shift = jax.random.uniform(places, scaled.shape) * (size - scaled)
        extent = jnp.minimum(jnp.ceil(shift + scaled), size)
        # Interpolation leaves a trace of the last pixels beyond the edge.
        inside = rectangles(jnp.zeros_like(extent), extent, (x.shape[1], x.shape[2]))
        return {
            **batch,
            column: jnp.where(inside, jax.vmap(_moved)(x, factor, shift), 0),
            **objects.moved(factor, shift).seen(jnp.zeros(2), size, keep).columns(),
            "extent": extent,
            "scale": batch["scale"] * factor,
        }

    return transform


def mosaic(
    probability: float = 1.0, keep: float = 0.3, limit: int | None = None, column: str = "image"
) -> Transform:
    """Four pictures in the corners of one canvas (Bochkovskiy et al. 2020, section 3.3).

    They are those of the example and of the next three of its batch. They meet at a point in the
    middle 40 % of the canvas each way; each is scaled to cover its corner, and cropped there at
    random. `scale` is that of the example's own picture.

    Args:
      probability: of each example; the others stay as they are.
      keep: least share of a box that must still be seen for its object to stay.
      limit: the most objects of a mosaic; by default as many as the batch has room for, which must
        be more than one. Further ones are dropped but can still be seen in the image, so leave
        enough room.
      column: of the images. Integers stay integers, rounded.
    """
    require_between("mosaic", 0, 1, probability=probability)
    _require_keep("mosaic", keep)
    if limit is not None and limit < 1:
        raise UserError(f"mosaic: limit={limit}; leave room for at least 1 object")

    def transform(batch: Batch, key: PRNGKeyArray) -> Batch:
        x, objects = _images_and_objects(batch, column, "mosaic")
        if limit is None and objects.labels.shape[1] == 1:
            raise UserError(
                "mosaic: there is room for one object per image, but a mosaic shows four; set "
                "limit=4"
            )
        size = jnp.array(x.shape[1:3], jnp.float32)
        coins, points, places = jax.random.split(key, 3)
        used = jax.random.bernoulli(coins, probability, (len(x),))
        meet = jnp.round(jax.random.uniform(points, (len(x), 2), minval=0.3, maxval=0.7) * size)
        canvas, parts, factors = jnp.zeros_like(x), [], []
        for i, place in enumerate(jax.random.uniform(places, (4, len(x), 2))):
            corner = jnp.array([i // 2, i % 2])
            start, stop = jnp.where(corner, meet, 0), jnp.where(corner, size, meet)
            extent = jnp.roll(batch["extent"], -i, axis=0)
            factor = jnp.max((stop - start) / extent, axis=1)
            shift = start + place * (stop - start - factor[:, None] * extent)
            moved = jax.vmap(_moved)(jnp.roll(x, -i, axis=0), factor, shift)
            canvas = jnp.where(rectangles(start, stop, (x.shape[1], x.shape[2])), moved, canvas)
            parts.append(objects.rolled(i).moved(factor, shift).seen(start, stop, keep))
            factors.append(factor)
        together = BatchObjects(
            *(jnp.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        )
        room = objects.labels.shape[1] if limit is None else limit
        mixed = {
            column: canvas,
            **together.packed(room).columns(),
            "extent": jnp.broadcast_to(size, (len(x), 2)),
            "scale": batch["scale"] * factors[0],
        }
        own = {**batch, **objects.packed(room).columns()}
        return {**batch, **{k: jnp.where(along(used, v), v, own[k]) for k, v in mixed.items()}}

    return transform


def mirrored_pictures(
    batch: Batch, mirrored: Bool[Array, " batch"], column: str, boxes: str
) -> dict[str, Array]:
    """The columns of images and boxes, with the `mirrored` examples mirrored; for `random_flip`."""
    x = find_images(batch, column, "random_flip")
    width = find_column(batch, "extent", "random_flip")[:, 1, None]
    place, last = jnp.arange(x.shape[2]), jnp.round(width).astype(jnp.int32) - 1
    source = jnp.where(mirrored[:, None] & (place <= last), last - place, place)
    sides = find_column(batch, boxes, "random_flip")
    left, top, right, bottom = jnp.moveaxis(sides, -1, 0)
    turned = jnp.stack([width - right, top, width - left, bottom], axis=-1)
    changed = mirrored[:, None] & (find_column(batch, "labels", "random_flip") >= 0)
    return {
        column: jax.vmap(lambda image, columns: image[:, columns])(x, source),
        boxes: jnp.where(changed[..., None], turned, sides),
    }


class BatchObjects(NamedTuple):
    """The objects of a batch of images, padded with label -1."""

    boxes: Float[Array, "batch objects corners=4"]
    labels: Int[Array, "batch objects"]
    crowd: Bool[Array, "batch objects"]

    def columns(self) -> dict[str, Array]:
        """The columns of a batch."""
        return self._asdict()

    def rolled(self, by: int) -> BatchObjects:
        """The objects of the image `by` places further on in the batch."""
        return BatchObjects(*(jnp.roll(each, -by, axis=0) for each in self))

    def moved(self, factor: Float[Array, " batch"], shift: Float[Array, "batch 2"]) -> BatchObjects:
        """Scaled, and then shifted (down, right)."""
        boxes = self.boxes * factor[:, None, None] + jnp.tile(shift[:, ::-1], 2)[:, None]
        return self._replace(boxes=boxes)

    def seen(
        self,
        start: Float[Array, "*#batch 2"],
        stop: Float[Array, "*#batch 2"],
        keep: float,
    ) -> BatchObjects:
        """The parts in a window, from (top, left) to (bottom, right); others are dropped."""
        least, most = (jnp.tile(jnp.atleast_2d(end)[:, ::-1], 2)[:, None] for end in (start, stop))
        boxes = jnp.clip(self.boxes, least, most)
        sides, whole = (each[..., 2:] - each[..., :2] for each in (boxes, self.boxes))
        share = jnp.prod(sides, axis=-1) / jnp.maximum(jnp.prod(whole, axis=-1), 1e-6)
        stays = (self.labels >= 0) & jnp.all(sides >= 1, axis=-1) & (self.crowd | (share >= keep))
        return BatchObjects(
            jnp.where(stays[..., None], boxes, 0),
            jnp.where(stays, self.labels, -1),
            self.crowd & stays,
        )

    def packed(self, room: int) -> BatchObjects:
        """The first `room` real objects, in their order, padded to `room`."""
        order = jnp.argsort(self.labels < 0, axis=1, stable=True)[:, :room]
        boxes, labels, crowd = (
            jnp.take_along_axis(each, order if each.ndim == 2 else order[..., None], axis=1)
            for each in self
        )
        more = ((0, 0), (0, room - order.shape[1]))
        return BatchObjects(
            jnp.pad(boxes, (*more, (0, 0))),
            jnp.pad(labels, more, constant_values=-1),
            jnp.pad(crowd, more),
        )


def _images_and_objects(
    batch: Batch, column: str, name: str
) -> tuple[Num[Array, "batch height width channels"], BatchObjects]:
    for field in ("extent", "scale"):
        find_column(batch, field, name)
    objects = BatchObjects(*(find_column(batch, field, name) for field in BatchObjects._fields))
    return find_images(batch, column, name), objects


def _moved(
    image: Num[Array, "height width channels"], factor: Float[Array, ""], shift: Float[Array, "2"]
) -> Num[Array, "height width channels"]:
    """Scaled, then shifted (down, right): linear, antialiased, and 0 outside the image."""
    scale = jnp.broadcast_to(factor, (2,))
    moved = jax.image.scale_and_translate(
        floating(image), image.shape, (0, 1), scale, shift, method="linear"
    )
    return restore(moved, image)


def _require_keep(name: str, keep: float) -> None:
    require_between(name, 0, 1, keep=keep)

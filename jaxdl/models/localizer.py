"""Localisation: any classifier of images, with a second head that says where the object is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdl import config as cfg
from jaxdl.boxes import Located, decode_offsets
from jaxdl.errors import UserError
from jaxdl.kernels import adaptive_average_pool
from jaxdl.models.layers import Dense, Module, check_images, dropout

_TRUNK = "config.model.trunk"


class Localizer(Module):
    """A classifier, and boxes regressed from its last feature map (Sermanet et al. 2014, OverFeat).

    The classifier, module 'trunk', keeps its own head; the boxes' head, 'box', is two dense layers
    on the features, which must still know where they are in the image. So the run of a classifier
    starts one: `config.init_from.rename=(('^', 'trunk/'),)` and `exclude=('^box/',)`; with
    'trunk.' a file of PyTorch's names does.

    Attributes:
      classes: how many.
      trunk: name and arguments of one of `jaxdl.models.MODELS` that gives logits of images, or of
        your own.
      features: path of the module of the trunk whose outputs are the feature map, such as 'layer4'
        of a ResNet; by default the last of its own modules that gives one.
      per_class: a box for each class, which VGG found better (Simonyan and Zisserman 2015,
        appendix A); by default one for all, which OverFeat did (section 4.3).
      grid: rows and columns to which the feature map is averaged, so that images may be of any
        size.
      hidden: units of the hidden layer.
      dropout: probability that a unit of the hidden layer is dropped in training.
    """

    classes: int
    trunk: Mapping[str, Any]
    features: str | None = None
    per_class: bool = False
    grid: int = 7
    hidden: int = 256
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Located:
        """(batch, height, width, channels) -> logits, and boxes in shares of the images' sides.

        Raises:
          UserError: the trunk is not a classifier of images of so many classes, or has no such
            features.
        """
        for name in ("classes", "grid", "hidden"):
            if getattr(self, name) < 1:
                raise UserError(f"config.model.{name}: at least 1, got {getattr(self, name)}")
        check_images(x)
        trunk, seen = self._classifier(), _FeatureMap(self.features)
        takes_train = "train" in inspect.signature(type(trunk).__call__).parameters
        with nn.intercept_methods(seen.watch(trunk)):
            logits = trunk(x, **({"train": train} if takes_train else {}))
        if getattr(logits, "ndim", 0) not in (2, 3) or logits.shape[-1] != self.classes:
            raise UserError(
                f"{_TRUNK}: expected logits (batch, {self.classes}), got {_shape(logits)}; name a "
                "classifier"
            )
        count = self.classes if self.per_class else 1
        head = BoxHead(count, self.grid, self.hidden, self.dropout, name="box")
        return Located(logits, head(seen.found(), train))

    def _classifier(self) -> nn.Module:
        from jaxdl.models import MODELS  # of which this module is itself one

        thing, arguments = cfg.choose(self.trunk, MODELS, _TRUNK)
        if not (inspect.isclass(thing) and issubclass(thing, nn.Module)):
            raise UserError(f"{_TRUNK}: {self.trunk['name']!r} is not a Flax module; name one")
        for name in ("outputs", "classes"):
            if name in cfg.parameters(thing):
                arguments.setdefault(name, self.classes)
        return thing(**cfg.checked(thing, arguments, _TRUNK), name="trunk")


class BoxHead(nn.Module):
    """Boxes from a feature map, by two dense layers; each starts as the whole image.

    Attributes:
      boxes: how many.
      grid, hidden, dropout: see `Localizer`.
    """

    boxes: int
    grid: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch rows columns channels"], train: bool
    ) -> Float[Array, "batch {self.boxes} corners=4"]:
        """Corners (x₁, y₁, x₂, y₂) in shares of the sides.

        In R-CNN's code relative to the whole image, so that sides are positive.
        """
        x = adaptive_average_pool(x, self.grid).reshape(len(x), -1)
        x = nn.relu(Dense(self.hidden, kernel_init=nn.initializers.he_normal(), name="0")(x))
        x = dropout(self.dropout, train)(x)
        code = Dense(4 * self.boxes, kernel_init=nn.initializers.zeros_init(), name="1")(x)
        code = code.reshape(len(x), self.boxes, 4).astype(jnp.promote_types(x.dtype, jnp.float32))
        return decode_offsets(code, jnp.array([0, 0, 1, 1], code.dtype))


class _FeatureMap:
    """What the modules of a trunk put out, kept while the trunk is called.

    Args:
      name: path of the module in the trunk; None for the last of the trunk's own that puts out
        features with a place in the image.
    """

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._named: list[Any] = []
        self._own: dict[str, Any] = {}

    def watch(self, trunk: nn.Module) -> Any:
        """An interceptor for `flax.linen.intercept_methods`."""
        above = trunk.path

        def call(next_method: Any, args: Any, kwargs: Any, context: Any) -> Any:
            outputs, path = next_method(*args, **kwargs), context.module.path
            if context.method_name == "__call__" and path[: len(above)] == above:
                inside = path[len(above) :]
                if len(inside) == 1 and getattr(outputs, "ndim", 0) == 4:
                    self._own[inside[0]] = outputs
                if "/".join(inside) == self._name:
                    self._named.append(outputs)
            return outputs

        return call

    def found(self) -> Float[Array, "batch rows columns channels"]:
        """The feature map.

        Raises:
          UserError: there is none.
        """
        if not self._own and not self._named:
            raise UserError(
                f"{_TRUNK}: none of its modules gives features (batch, rows, columns, channels); "
                "name a convolutional network, or a module inside by config.model.features"
            )
        if self._name is None:
            return [*self._own.values()][-1]
        if not self._named:
            raise UserError(
                f"config.model.features: the trunk has no module {self._name!r}; of its own, "
                f"{', '.join(self._own)} give feature maps"
            )
        if getattr(self._named[-1], "ndim", 0) != 4:
            raise UserError(
                f"config.model.features: {self._name!r} gives {_shape(self._named[-1])}, not a "
                "feature map (batch, rows, columns, channels); name a module before the flattening"
            )
        return self._named[-1]


def _shape(outputs: Any) -> str:
    return f"shape {outputs.shape}" if hasattr(outputs, "shape") else type(outputs).__name__

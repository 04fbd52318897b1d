"""What a config does to batches on the device, in training and in evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from jaxdl import config as cfg
from jaxdl.training.settings import Data
from jaxdl.transforms import TRANSFORMS, Transform, compose


@dataclass(frozen=True)
class Transforms:
    """What is done to batches on the device.

    Attributes:
      always: to any batch.
      train: to a training batch: `config.data.augment`, and then `always`.
      evaluation: to a batch of evaluation: `config.data.views`, and then `always`.
      several_views: whether `evaluation` makes several views of an example.
      needs_epochs: whether `train` reads the columns `row` and `epoch`.
    """

    always: Transform
    train: Transform
    evaluation: Transform
    several_views: bool
    needs_epochs: bool

    @classmethod
    def of(cls, data: Data) -> Transforms:
        """The transforms that a config names.

        Raises:
          UserError: there is none of a name, or it does not take its arguments.
        """

        def named(key: str) -> Transform:
            nodes, path = enumerate(getattr(data, key)), f"config.data.{key}"
            return compose([cfg.build(node, TRANSFORMS, f"{path}[{i}]") for i, node in nodes])

        always = named("transforms")
        return cls(
            always=always,
            train=compose([named("augment"), always]),
            evaluation=compose([named("views"), always]),
            several_views=bool(data.views),
            needs_epochs=any(node.get("alternate") for node in data.augment),
        )

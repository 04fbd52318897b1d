"""A frozen network as a function of images: of a run, or of a config with a file of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

import jaxdl
from jaxdl.checkpointing.init_from import InitFrom
from jaxdl.errors import UserError
from jaxdl.training.build import build_model, build_task, read_config
from jaxdl.training.settings import Data, Settings
from jaxdl.training.transforming import Transforms
from jaxdl.types import ModelState, Params

_CLASSES = 1000  # of ImageNet, as weight files have them
_SHAPE = (1, 224, 224, 3)  # of which a network is made; its features may be of any other


class Network(NamedTuple):
    """A network that is looked into.

    Attributes:
      label: what it is called.
      kind: its model's name and depth, and whether it is a VGG with batch norm.
      features: (variables, images, names) -> {name: (batch, height, width, channels)}, of images
        from 0 to 1, after ReLU.
      variables: parameters and state.
    """

    label: str
    kind: tuple[str, int | None, bool]
    features: Callable[[Any, Array, Sequence[str]], dict[str, Array]]
    variables: tuple[Params, ModelState]


def of_run(folder: str) -> Network:
    """The network of a run.

    Raises:
      UserError: there is none, or it does not see images.
    """
    run = jaxdl.load(folder).parts
    column = run.columns.get("image", {"shape": ()})
    if len(column["shape"]) != 3 or column["shape"][-1] != 3 or run.model.features is None:
        raise UserError(f"{folder}: its model does not take coloured images, {column['shape']}")
    variables = run.state.eval_params, run.state.model_state
    return _network(
        Path(folder).name, run.config["model"], run.model, run.transforms.always, variables
    )


def of_config(name: str, weights: str | None, key: int) -> Network:
    """The network of a config, with the weights of a file, or with those that it starts with.

    Raises:
      UserError: the config cannot be read, or the file does not fit.
    """
    settings = Settings.of(read_config(name))
    model = build_model(settings.model, None, build_task(settings.task, _CLASSES))
    transform = Transforms.of(Data.of(settings.data)[0]).always
    start = jax.random.key(key), (jnp.zeros(_SHAPE),)
    label = Path(name).stem
    if weights is None:
        drawn = jax.jit(model.init)(*start)
        return _network(f"{label}, untrained", settings.model, model, transform, drawn)
    filled = InitFrom(weights).fill(*jax.eval_shape(model.init, *start))
    variables = filled.params, filled.model_state
    return _network(label, settings.model, model, transform, variables)


def _network(
    label: str, config: Mapping[str, Any], model: Any, transform: Any, variables: Any
) -> Network:
    def features(variables: Any, images: Array, names: Sequence[str]) -> dict[str, Array]:
        batch = transform({"image": 255 * images}, jax.random.key(0))
        found = model.features(*variables, (batch["image"],), names)
        for name, x in found.items():
            if x.ndim != 4:
                raise UserError(f"features: {name} has no positions, {x.shape}; name another layer")
        return {name: jax.nn.relu(x) for name, x in found.items()}

    kind = (config["name"], config.get("depth"), bool(config.get("batch_norm")))
    variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
    return Network(label, kind, features, variables)

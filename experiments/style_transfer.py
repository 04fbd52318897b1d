"""A photograph in the style of another (Gatys, Ecker and Bethge 2016), by features of any network.

    python experiments/style_transfer.py --workdir RUN --figure sheet.png
    python experiments/style_transfer.py --config imagenet_vgg19 --weights vgg19.pth --figure s.png

An image is found whose features in a trained network are those of the content, and the correlations
of whose features (Gram matrices) are those of the style. By default these are the two photographs
that scikit-learn has. The network is that of a run, or that of a config with torchvision's weights
from a file (VGG-19 has the paper's layers); `--untrained` draws its weights, to compare with.

Nothing here trains a network, and the framework trains nothing else: the image is the one parameter
of a model, the frozen network is that model's state, the two losses are a task, and the step is
`jaxdl.make_step`. L-BFGS, the paper's choice, searches along a line with the task's own objective.

Content is compared as in the paper's equation 1, styles as in equations 3 to 5, but each layer's
squared error is divided by the squares of its target: 0 is equal, 1 as far as no features at all.
So the same weights serve networks whose features are of any size. Features are taken after ReLU.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from arguments import count, in_one_line, picture, seed, weight
from frozen_networks import Network, of_config, of_run
from jaxtyping import Array, Float
from sklearn.datasets import load_sample_image

import jaxdl
from jaxdl.data.images import pixels
from jaxdl.errors import UserError
from jaxdl.figures import save
from jaxdl.figures.canvas import grid
from jaxdl.files import make_parent, replace_bytes
from jaxdl.terminal import say
from jaxdl.types import Batch, ModelState, Params

_LEAST, _MOST = 32, 4096  # pixels of a side
_RATE = 0.02  # of Adam

# Content and style layers by model; of VGG-19 those of the paper, conv4_2 and conv1_1 to conv5_1.
_RESNET = ("layer2",), ("bn1", "layer1", "layer2", "layer3")
_LAYERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "vgg 19": (("features/21",), tuple(f"features/{i}" for i in (0, 5, 10, 19, 28))),
    "alexnet": (("features/6",), tuple(f"features/{i}" for i in (0, 3, 6, 8, 10))),
    "resnet": _RESNET,
    "cifar_resnet": _RESNET,
}

# ---- The task: an image between content and style ------------------------------------------------


@dataclass(frozen=True)
class StyleTransfer(jaxdl.Task):
    """The sum of content and style losses, of features by layer.

    A batch holds the targets: of a content layer `content/NAME`, (1, height, width, channels), of
    a style layer `style/NAME`, (1, channels, channels).

    Args:
      content, style: names of layers.
      style_weight: β of equation 7, where α is 1.
      smoothness: what the squared differences of neighbouring pixels weigh; the paper has none.
    """

    content: tuple[str, ...]
    style: tuple[str, ...]
    style_weight: float
    smoothness: float

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """None: the image is the model's parameter."""
        return ()

    def losses(self, outputs: Any, batch: Batch) -> dict[str, Float[Array, " one"]]:
        """Both losses, means over their layers, (1,)."""
        content = [relative(outputs[name], batch[f"content/{name}"]) for name in self.content]
        style = [relative(gram(outputs[name]), batch[f"style/{name}"]) for name in self.style]
        return {"content": sum(content) / len(content), "style": sum(style) / len(style)}

    def loss(self, outputs: Any, batch: Batch) -> Float[Array, " one"]:
        """Equation 7, (1,)."""
        losses = self.losses(outputs, batch)
        return losses["content"] + self.style_weight * losses["style"]

    def training_metrics(self, outputs: Any, batch: Batch) -> dict[str, Float[Array, " one"]]:
        """The sum, and both."""
        return {"loss": self.loss(outputs, batch), **self.losses(outputs, batch)}

    def penalty(self, params: Params) -> Any:
        """That of an image that is not smooth."""
        image = params["image"]
        steps = (jnp.diff(image, axis=axis) for axis in (1, 2))
        return self.smoothness * sum(jnp.mean(jnp.square(step)) for step in steps)

    def targets(
        self, content: Mapping[str, Array], style: Mapping[str, Array]
    ) -> dict[str, Float[Array, "one ..."]]:
        """The batch, from features of the two photographs."""
        return {f"content/{name}": content[name] for name in self.content} | {
            f"style/{name}": gram(style[name]) for name in self.style
        }


def gram(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch channels channels"]:
    """Means over positions of the products of channels (equation 3 over the positions)."""
    return jnp.einsum("nhwc,nhwd->ncd", x, x) / (x.shape[1] * x.shape[2])


def relative(x: Float[Array, "batch ..."], target: Array) -> Float[Array, " batch"]:
    """Squared error over the square of the target, of each example."""
    axes = tuple(range(1, x.ndim))
    size = jnp.sum(jnp.square(target), axes)
    return jnp.sum(jnp.square(x - target), axes) / jnp.maximum(size, jnp.finfo(x.dtype).tiny)


# ---- The model: an image as a frozen network sees it ---------------------------------------------


def image_model(network: Network, names: Sequence[str], start: Array) -> jaxdl.Model:
    """A model whose one parameter is an image, and whose outputs are its features.

    Args:
      network: frozen: its variables are the state of the model.
      names: of layers.
      start: the image at first, (1, height, width, 3) from 0 to 1.
    """

    def init(key: Array, inputs: tuple[Any, ...]) -> tuple[Params, ModelState]:
        return {"image": start}, {"network": network.variables}

    def apply(params: Params, state: ModelState, inputs: Any, key: Any, train: bool) -> Any:
        return network.features(state["network"], params["image"], names), state

    return jaxdl.Model(init, apply)


# ---- From start to end ---------------------------------------------------------------------------


def lbfgs(objective: Callable[[Params], Array]) -> optax.GradientTransformation:
    """L-BFGS, whose line search asks an objective of the parameters."""
    inner = optax.lbfgs()

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        value = objective(params)
        return inner.update(grads, state, params, value=value, grad=grads, value_fn=objective)

    return optax.GradientTransformation(inner.init, update)


def make_step(model: jaxdl.Model, task: StyleTransfer, rate: float | None) -> Callable:
    """(state, targets) -> (state, summary): of Adam at a rate, or of L-BFGS without one."""

    def step(state: jaxdl.State, batch: Batch) -> Any:
        def objective(params: Params) -> Array:
            outputs, _ = model.apply(params, state.model_state, (), None, True)
            return jnp.sum(task.loss(outputs, batch)) + task.penalty(params)

        optimizer = lbfgs(objective) if rate is None else optax.adam(rate)
        return jaxdl.make_step(model, task, optimizer)(state, batch)

    return step


def transfer(
    network: Network,
    task: StyleTransfer,
    photographs: tuple[Array, Array],
    start: Array,
    *,
    steps: int,
    rate: float | None,
) -> tuple[np.ndarray, list[dict[str, float]]]:
    """The image that is found, (height, width, 3) from 0 to 1, and what each step told.

    Of each step it is the losses before it; one more step than `steps` is told, that of the result.

    Raises:
      UserError: a layer does not exist, or the image is not finite any more.
    """
    names = tuple(dict.fromkeys((*task.content, *task.style)))
    see = jaxdl.jit(lambda variables, image: network.features(variables, image, names))
    content, style = (see(network.variables, image) for image in photographs)
    batch, model = task.targets(content, style), image_model(network, names, start)
    optimizer = optax.lbfgs() if rate is None else optax.adam(rate)
    state, told = jaxdl.init(model, task, optimizer, batch), []
    step = jaxdl.jit(make_step(model, task, rate))
    for i in range(steps + 1):
        image = state.params["image"]
        state, summary = step(state, batch)
        if not summary["finite"]:
            raise UserError(f"step {i}: the loss is not finite; lower --rate or the weights")
        told.append({name: float(summary[name]) for name in ("loss", "content", "style")})
        if i % max(1, steps // 10) == 0:
            say(f"step {i:4}  " + "  ".join(f"{name} {x:.5f}" for name, x in told[-1].items()))
    return np.clip(np.asarray(image[0]), 0, 1), told


def photograph(file: Path | None, sample: str, size: int) -> Array:
    """A photograph, (1, height, width, 3) from 0 to 1, the longer side `size` pixels.

    Raises:
      UserError: it cannot be read, or would be too small or too large.
    """
    image = load_sample_image(sample) if file is None else pixels.read(file, 3)
    height, width = (round(size * side / max(image.shape)) for side in image.shape[:2])
    if min(height, width) < _LEAST or size > _MOST:
        raise UserError(
            f"--size: {size} makes an image of {width}x{height} pixels; a side must have {_LEAST} "
            f"to {_MOST}"
        )
    scaled = jax.image.resize(image / np.float32(255), (height, width, 3), "linear")
    return jnp.clip(scaled, 0, 1)[None]


def main(options: argparse.Namespace) -> None:
    if (options.weights is not None) + options.untrained != (options.config is not None):
        raise UserError("--config: needs --weights FILE or --untrained, and --workdir neither")
    if options.rate is not None and (options.rate == 0 or options.optimizer == "lbfgs"):
        raise UserError("--rate: above 0, and of Adam alone; L-BFGS searches for its own")
    if options.workdir is not None:
        network = of_run(options.workdir)
    else:
        network = of_config(options.config, options.weights, options.seed)
    name, depth, normed = network.kind
    usual = _LAYERS.get(f"{name} {depth}" if name == "vgg" and not normed else name, ((), ()))
    task = StyleTransfer(
        content=tuple(options.content_layer or usual[0]),
        style=tuple(options.style_layer or usual[1]),
        style_weight=options.style_weight,
        smoothness=options.smoothness,
    )
    if not (task.content and task.style):
        raise UserError(f"{network.label}: name layers by --content-layer and --style-layer")
    content = photograph(options.content, "china.jpg", options.size)
    style = photograph(options.style, "flower.jpg", options.size)
    noise = jax.random.uniform(jax.random.key(options.seed), content.shape)
    start = content if options.start == "content" else noise
    rate = None if options.optimizer == "lbfgs" else options.rate or _RATE
    image, told = transfer(
        network, task, (content, style), start, steps=options.steps, rate=rate
    )  # fmt: skip
    how = f"{options.steps} steps of {options.optimizer} from {options.start}"
    say(f"{network.label}, {image.shape[1]}x{image.shape[0]} pixels, {how}, seed {options.seed}")
    for name in ("content", "style"):
        say(f"{name:8} {told[0][name]:.5f} -> {told[-1][name]:.5f}")
    if options.image:
        write(image, options.image)
    if options.figure:
        draw([content[0], style[0], image], network.label, options.figure)


def write(image: np.ndarray, path: Path) -> None:
    """The image alone, in a file of its suffix."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, image, format=path.suffix[1:])
    replace_bytes(make_parent(path), file.getvalue())


def draw(images: Sequence[Any], label: str, path: Path) -> None:
    """The sheet: content, style, result."""
    height, width = images[-1].shape[:2]
    figure, axes = grid(3, 3, 3.4, 3.4 * height / width + 0.3)
    for ax, image, title in zip(axes, images, ("content", "style", label), strict=True):
        ax.imshow(np.asarray(image))
        ax.set_title(title, fontsize=9)
    save(figure, path)


def command(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", help="a run, whose network is taken")
    source.add_argument("--config", help="a config, whose network is taken")
    parser.add_argument("--weights", help="a file of its weights, such as torchvision's")
    parser.add_argument("--untrained", action="store_true", help="draw the weights, by --seed")
    parser.add_argument("--content", type=Path, help="an image; by default scikit-learn's china")
    parser.add_argument("--style", type=Path, help="an image; by default scikit-learn's flower")
    parser.add_argument("--content-layer", nargs="+", metavar="LAYER", help="such as features/21")
    parser.add_argument("--style-layer", nargs="+", metavar="LAYER")
    parser.add_argument("--style-weight", type=weight, default=10.0, help="content weighs 1")
    parser.add_argument("--smoothness", type=weight, default=0.0, help="of neighbouring pixels")
    parser.add_argument("--size", type=count, default=256, help="pixels of the longer side")
    parser.add_argument("--start", choices=("content", "noise"), default="content")
    parser.add_argument("--optimizer", choices=("lbfgs", "adam"), default="lbfgs")
    parser.add_argument("--rate", type=weight, help=f"of Adam, by default {_RATE}; white is 1")
    parser.add_argument("--steps", type=count, default=200)
    parser.add_argument("--seed", type=seed, default=0, help="of noise and of drawn weights")
    parser.add_argument("--image", type=picture, help="where to write the result alone")
    parser.add_argument("--figure", type=picture, help="where to draw content, style and result")
    options = parser.parse_args(words)
    with in_one_line(parser):
        main(options)


if __name__ == "__main__":
    command()

"""What a CNN's first filters are, and how pure in class what excites its units is, layer by layer.

    python experiments/understanding_alexnet.py RUN [--split test] [--seed 0] [--figure both.png]

Both beside the same network before training (another seed draws another). Of each filter of the
first convolution the strongest component is taken: the direction in the space of its inputs that
holds most of its energy, grey where it is within 45° of (1, 1, 1), else coloured. A 2-D Gabor
function, a Gaussian of two widths times a cosine, is fitted to it by least squares: 8 parameters,
of which amplitude and phase are solved for at each step, from the best 6 of 576 starts. R² is the
share of the component's variance that the best of them explains. Widths are half a pixel to the
filter's side, frequencies half a cycle in a filter to half a cycle a pixel.

Purity is the share of the commonest class among the nine images that excite a unit most, each image
counted once; its mean is over all units of a layer. `chance` is that of nine images at random.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from arguments import in_one_line
from scipy.optimize import least_squares

import jaxdl
from jaxdl.errors import UserError
from jaxdl.figures import save
from jaxdl.figures.canvas import BLUE, GREY, RED, canvas
from jaxdl.inference.evaluator import other_splits
from jaxdl.inference.loaded import LoadedRun
from jaxdl.terminal import say

_GABOR = 0.8  # R² from which a filter counts
_POLISHED = 6  # starts
_TOP = 9
_DRAWS = 20_000


def component(weights: np.ndarray) -> tuple[np.ndarray, bool]:
    """The strongest component of a filter (height, width, inputs), and whether it is coloured."""
    u, s, v = np.linalg.svd(weights.reshape(-1, weights.shape[-1]), full_matrices=False)
    grey = np.full(weights.shape[-1], weights.shape[-1] ** -0.5)
    return (u[:, 0] * s[0]).reshape(weights.shape[:2]), bool((v[0] @ grey) ** 2 < 0.5)


def gabor_r2(weights: np.ndarray) -> float:
    """The share of the variance of weights (height, width) that the best Gabor function has."""
    height, width = weights.shape
    size, target = max(weights.shape), weights.ravel() / np.linalg.norm(weights)
    y, x = (a.ravel() for a in np.mgrid[:height, :width].astype(float))

    def misfit(p: np.ndarray) -> np.ndarray:
        cy, cx, along, across, angle, frequency = p
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        bell = np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
        waves = np.cos(2 * np.pi * frequency * u), np.sin(2 * np.pi * frequency * u)
        basis = bell[:, None] * np.stack(waves, 1)
        gram = basis.T @ basis + 1e-9 * np.eye(2)
        return target - basis @ np.linalg.solve(gram, basis.T @ target)

    lower = np.array([0, 0, 0.5, 0.5, -np.inf, 0.5 / size])
    upper = np.array([height - 1, width - 1, size, size, np.inf, 0.5])
    starts = [
        np.array([cy, cx, spread * size, spread * size, angle, frequency])
        for cy in np.array([0.3, 0.5, 0.7]) * (height - 1)
        for cx in np.array([0.3, 0.5, 0.7]) * (width - 1)
        for spread in (0.15, 0.3)
        for angle in np.arange(8) * np.pi / 8
        for frequency in np.geomspace(0.6 / size, 0.45, 4)
    ]
    starts = sorted(starts, key=lambda p: np.sum(misfit(p) ** 2))[:_POLISHED]
    left = [
        2
        * least_squares(misfit, np.clip(p, lower + 1e-6, upper - 1e-6), bounds=(lower, upper)).cost
        for p in starts
    ]
    return 1 - min(left) / np.sum((target - target.mean()) ** 2)


def purity(labels: np.ndarray) -> np.ndarray:
    """The share of the commonest label in each row."""
    return np.array([np.bincount(row).max() / len(row) for row in labels])


def by_chance(labels: np.ndarray, seed: int) -> float:
    """The mean purity of as many images of the split, drawn without replacement."""
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(labels, min(_TOP, len(labels)), replace=False) for _ in range(_DRAWS)]
    return float(purity(np.stack(drawn)).mean())


def untrained(folder: str, seed: int) -> LoadedRun:
    """The run, with the weights of a network before training."""
    run = jaxdl.load(folder)
    parts, key = run.parts, jax.random.key(seed)
    blank = {name: np.zeros((1, *c["shape"]), c["dtype"]) for name, c in run.columns.items()}
    inputs = parts.task.inputs(parts.transforms.always(blank, key))
    params, model_state = parts.model.init(key, inputs)
    parts.state = replace(parts.state, params=params, model_state=model_state, ema=None)
    return run


def main(folder: str, split: str, seed: int, path: str | None) -> None:
    trained = jaxdl.load(folder)
    nets = {"trained": trained, "untrained": untrained(folder, seed)}
    layers: Sequence[str] = [*trained.explainer.kernels]
    first = trained.explainer.filters()
    splits = other_splits(trained.parts, ())
    if split not in splits:
        raise UserError(f"--split: unknown {split!r}; the data has {', '.join(splits)}")
    table = splits[split]
    labels = np.asarray(table.columns[trained.parts.task.label])

    say(f"{layers[0]}: {first.shape[-1]} filters of {'×'.join(map(str, first.shape[:-1]))}")
    say(f"{'':10} Gabor (R² > {_GABOR})  grey  coloured   median R²   coloured, of all")
    r2 = {}
    for name, run in nets.items():
        found = [component(w) for w in np.moveaxis(run.explainer.filters(), -1, 0)]
        colour = np.array([coloured for _, coloured in found])
        r2[name] = np.array([gabor_r2(weights) for weights, _ in found])
        hit = r2[name] > _GABOR
        say(
            f"{name:10} {hit.mean():15.3f}  {np.mean(hit & ~colour):5.3f}  "
            f"{np.mean(hit & colour):8.3f}  {np.median(r2[name]):10.3f}  {colour.mean():17.3f}"
        )

    say()
    say(f"purity of the top {_TOP} of {len(table):,} {split} images, mean over units")
    say(f"{'layer':16} sees       trained  untrained")
    means: dict[str, list[float]] = {name: [] for name in nets}
    for layer in layers:
        for name, run in nets.items():
            found = run.explainer.strongest(table, layer, top=_TOP)
            means[name].append(float(purity(labels[found.rows]).mean()))
        sees = "×".join(map(str, found.size))
        say(f"{layer:16} {sees:9}  {means['trained'][-1]:.3f}    {means['untrained'][-1]:.3f}")
    say(f"{'chance':26}  {(chance := by_chance(labels, seed)):.3f}")
    if path:
        draw(r2, means, layers, chance, path)


def draw(
    r2: dict[str, np.ndarray],
    means: dict[str, list[float]],
    layers: Sequence[str],
    chance: float,
    path: str,
) -> None:
    figure, (left, right) = canvas(2, side=3.2)
    for name, color in (("trained", BLUE), ("untrained", RED)):
        ranked = np.sort(r2[name])[::-1]
        left.plot(np.arange(1, len(ranked) + 1) / len(ranked), ranked, color=color, label=name)
        right.plot(range(len(layers)), means[name], "o-", color=color, label=name)
    left.axhline(_GABOR, color=GREY, ls="--", lw=1)
    left.set(xlabel="share of filters", ylabel="R² of the best Gabor function", ylim=(0, 1))
    left.legend(frameon=False)
    right.axhline(chance, color=GREY, ls="--", lw=1, label="chance")
    right.set_xticks(range(len(layers)), layers, rotation=90 * (len(layers) > 6), fontsize=8)
    right.set(ylabel="purity of the nine images", ylim=(0, 1))
    right.legend(frameon=False)
    save(figure, Path(path))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="of a classifier of images")
    parser.add_argument("--split", default="test", help="that is searched (test)")
    parser.add_argument("--seed", type=int, default=0, help="of the network before training")
    parser.add_argument("--figure", help="where to draw both")
    options = parser.parse_args()
    with in_one_line(parser):
        main(options.run, options.split, options.seed, options.figure)

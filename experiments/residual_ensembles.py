"""Residual networks behave like ensembles of relatively shallow networks (Veit et al. 2016).

    python experiments/residual_ensembles.py RESNET [PLAIN] [--figure residual_ensembles.png]

RESNET is a run of a network of residual blocks, such as `configs/cifar10_resnet20.py`, and PLAIN
one of its twin without shortcuts, such as `configs/cifar10_plain20.py`. Nothing is trained here.
The paper's four experiments:

1. (4.1) The error on the test split without one of the blocks. A residual block loses its branch F
   and keeps its shortcut. A block of the plain net, two layers, becomes the identity, which is only
   possible where it does not change the shape; the others stay.
2. (4.2) The error without k of these blocks, drawn `--draws` times for each k: mean and standard
   deviation of the draws.
3. (4.3) The error once blocks of equal shapes have changed places, against Kendall's tau between
   the new order and the old. All orders if there are at most `--orders`, else so many, made by
   random swaps as in the paper.
4. (4.4) The gradient of the first layer's weights through paths of each length: the mean, over
   `--draws` batches of training images, of the norm of the gradient that passes through k random
   branches and, at all other blocks, through the shortcut alone. Times the number of such paths it
   is what these contribute together. Images are not augmented, and batch norm uses its running
   statistics, as everywhere here.

`switched_blocks.py` switches the blocks of the run's own network.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from arguments import count, in_one_line, picture, seed
from scipy.stats import kendalltau
from switched_blocks import Blocks, Switches, find_blocks, outputs, reordered, switched

import jaxdl
from jaxdl.errors import UserError
from jaxdl.figures import save
from jaxdl.figures.canvas import BLUE, GREY, RED, canvas
from jaxdl.inference.evaluator import other_splits
from jaxdl.inference.restored import RestoredRun
from jaxdl.terminal import say
from jaxdl.training.evaluation import evaluate, make_evaluation, transformed

_BATCH = 128  # training images of which a gradient is taken
_STEM = "conv1"  # the first layer
_LABELS = 9  # of blocks along an axis


@dataclass(frozen=True)
class Subject:
    """A run's network, to be taken apart.

    Attributes:
      run: with a checkpoint.
      splits: its data; of the test split only the images that are looked at.
      blocks: of the network.
      residual: whether they have shortcuts.
    """

    run: RestoredRun
    splits: Mapping[str, jaxdl.Table]
    blocks: Blocks
    residual: bool

    @classmethod
    def of(cls, folder: str, images: int | None, residual: bool) -> Subject:
        """The network of a run, and the first so many images of its test split.

        Raises:
          UserError: there is no such run, or it is of something else.
        """
        run = jaxdl.load(folder).parts
        if not isinstance(run.task, jaxdl.Classification):
            raise UserError(f"{folder}: {type(run.task).__name__} has no error; name a classifier")
        splits = dict(other_splits(run, ()))
        test = splits["test"]
        rows = np.arange(len(test) if images is None else min(images, len(test)))
        splits["test"] = replace(test, columns=test[rows])
        blocks = find_blocks(run, splits["train"][np.arange(1)], residual)
        return cls(run, splits, blocks, residual)

    def make_error(self) -> Callable[..., float]:
        """The error on the test split: `(without=(), order=None) -> share of images`.

        `without` are numbers of blocks that are deleted, `order` the new order of all.
        """
        run, names = self.run, self.blocks.names
        evaluation = transformed(
            make_evaluation(run.eval_model, run.task, precision=run.precision),
            run.transforms.evaluation,
        )

        def switchable(keep: jax.Array, state: Any, batch: Any) -> Any:
            with switched(dict(zip(names, keep, strict=True)), {}):
                return evaluation(state, batch)

        program = jaxdl.jit(switchable)
        intact = replace(run.state, params=run.state.eval_params, ema=None)

        @functools.cache
        def error(without: tuple[int, ...] = (), order: tuple[int, ...] | None = None) -> float:
            keep, state = ~np.isin(np.arange(len(names)), without), intact
            if order is not None:
                stats = state.model_state["batch_stats"]
                state = replace(
                    state,
                    params=reordered(state.params, names, order),
                    model_state={"batch_stats": reordered(stats, names, order)},
                )
            size = run.training.eval_batch_size
            with run.precision.enabled():
                report = evaluate(
                    lambda state, batch: program(keep, state, batch),
                    run.task,
                    state,
                    self.splits["test"],
                    size,
                )
            return 1 - report["accuracy"]

        return error

    def make_gradient(self) -> Callable[[Any, Switches, Mapping[str, Any]], Any]:
        """`(state, branch, batch) -> gradient` of the first layer's weights, of the mean loss."""
        run, keep = self.run, dict.fromkeys(self.blocks.names, jnp.bool_(True))

        def gradient(state: Any, branch: Switches, batch: Mapping[str, Any]) -> Any:
            def loss(stem: Any) -> jax.Array:
                params = {**state.eval_params, _STEM: stem}
                with switched(keep, branch):
                    y = outputs(run, replace(state, params=params, ema=None), batch)
                return jnp.mean(run.task.loss(y, batch))

            return jax.grad(loss)(state.eval_params[_STEM])

        return gradient


def deletions(
    error: Callable[..., float], blocks: Blocks, draws: int, rng: np.random.Generator
) -> dict[int, np.ndarray]:
    """Number of deleted blocks k -> errors of different sets of k, at most `draws` for each k."""
    found = {}
    for k in range(1, len(blocks.deletable) + 1):
        count = math.comb(len(blocks.deletable), k)
        if count <= draws:
            sets = list(itertools.combinations(blocks.deletable, k))
        else:
            drawn: set[tuple[int, ...]] = set()
            while len(drawn) < draws:
                drawn.add(tuple(sorted(rng.choice(blocks.deletable, k, replace=False).tolist())))
            sets = sorted(drawn)
        found[k] = np.array([error(without) for without in sets])
    return found


def orders(blocks: Blocks, limit: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Orders of the blocks, in which only blocks that are alike have changed places."""

    def order_of(groups: Sequence[Sequence[int]]) -> tuple[int, ...]:
        order = list(range(len(blocks.names)))
        for places, sources in zip(blocks.alike, groups, strict=True):
            for place, source in zip(places, sources, strict=True):
                order[place] = source
        return tuple(order)

    if math.prod(math.factorial(len(group)) for group in blocks.alike) <= limit:
        return [order_of(g) for g in itertools.product(*map(itertools.permutations, blocks.alike))]
    found = []
    for i in range(limit):
        order = list(range(len(blocks.names)))
        for _ in range(i * len(order) // limit):  # from no swap to one for each block
            group = blocks.alike[rng.integers(len(blocks.alike))]
            a, b = rng.choice(group, 2, replace=False)
            order[a], order[b] = order[b], order[a]
        found.append(tuple(order))
    return found


def path_norms(subject: Subject, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Norms of the gradient through single paths, (blocks + 1, draws), by the paths' lengths."""
    run, names, train = subject.run, subject.blocks.names, subject.splits["train"]
    gradient = subject.make_gradient()
    norm = jaxdl.jit(lambda *arguments: optax.tree.norm(gradient(*arguments)))
    norms = np.empty((len(names) + 1, draws))
    for k, j in np.ndindex(norms.shape):
        branch = np.isin(np.arange(len(names)), rng.choice(len(names), k, replace=False))
        batch = train[rng.choice(len(train), min(_BATCH, len(train)), replace=False)]
        with run.precision.enabled():
            norms[k, j] = norm(run.state, dict(zip(names, branch, strict=True)), batch)
    return norms


class Findings(NamedTuple):
    """What was found of a network; errors are shares of the test images.

    Attributes:
      name: of the run.
      blocks: of the network.
      intact: the error of the whole network.
      single: number of the deleted block -> error.
      several: how many blocks are deleted -> errors.
      shuffled: pairs (Kendall's tau, error); of a plain net empty.
      norms: of the gradient through single paths, (blocks + 1, draws); of a plain net None.
    """

    name: str
    blocks: Blocks
    intact: float
    single: dict[int, float]
    several: dict[int, np.ndarray]
    shuffled: tuple[tuple[float, float], ...] = ()
    norms: np.ndarray | None = None


def take_apart(subject: Subject, draws: int, limit: int, seed: int) -> Findings:
    """All experiments on a network; on a plain one the first two."""
    blocks, error = subject.blocks, subject.make_error()
    rng = np.random.default_rng(seed)
    findings = Findings(
        name=subject.run.directory.folder.name,
        blocks=blocks,
        intact=error(),
        single={i: error((i,)) for i in blocks.deletable},
        several=deletions(error, blocks, draws, rng),
    )
    if not subject.residual:
        return findings
    places = range(len(blocks.names))
    shuffled = [
        (float(kendalltau(places, order).statistic), error(order=order))
        for order in orders(blocks, limit, rng)
    ]
    return findings._replace(
        shuffled=tuple(sorted(shuffled, reverse=True)), norms=path_norms(subject, draws, rng)
    )


def shares(norms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of paths, and of the gradient, what falls to each length, (blocks + 1,) each."""
    count = np.array([math.comb(len(norms) - 1, k) for k in range(len(norms))], float)
    gradient = count * norms.mean(1)
    return count / count.sum(), gradient / gradient.sum()


# ---- What is told --------------------------------------------------------------------------------


def tell(findings: Findings) -> None:
    """Print what was found."""
    say(f"{findings.name}: error of all blocks {findings.intact:.4f}")
    for i, error in findings.single.items():
        say(f"  without {findings.blocks.names[i]:12} {error:.4f}")
    for k, errors in findings.several.items():
        say(f"  without {k:2} of them  {errors.mean():.4f} ± {errors.std():.4f} ({len(errors)})")
    for tau in sorted({tau for tau, _ in findings.shuffled}, reverse=True):
        errors = np.array([error for t, error in findings.shuffled if t == tau])
        say(f"  tau {tau:8.4f}      {errors.mean():.4f} ± {errors.std():.4f} ({len(errors)})")
    if findings.norms is None:
        return
    paths, gradient = shares(findings.norms)
    say("  length    paths   norm of a path's gradient   share of the gradient")
    for k, norms in enumerate(findings.norms):
        norm = f"{norms.mean():.3e} ± {norms.std():.1e}"
        say(f"  {k:6} {paths[k]:8.4f}   {norm:>25}   {gradient[k]:21.4f}")
    lengths = np.arange(len(paths))
    say(f"  mean length of a path {lengths @ paths:.2f}, by gradient {lengths @ gradient:.2f}")


def draw(findings: Sequence[Findings], path: Path) -> None:
    """A figure of four panels, one for each experiment."""
    figure, _ = canvas(1)
    figure.clear()
    figure.set_size_inches(11, 6.2)
    (single, several), (order, lengths) = figure.subplots(2, 2)
    for run, color in zip(findings, (BLUE, RED), strict=False):
        single.plot([*run.single], [*run.single.values()], "o-", color=color, label=run.name)
        single.axhline(run.intact, color=color, ls=":", lw=1)
        errors = [np.array([run.intact]), *run.several.values()]
        several.errorbar(
            range(len(errors)), [e.mean() for e in errors], [e.std() for e in errors],
            fmt="o-", color=color, capsize=2, label=run.name,
        )  # fmt: skip
    resnet = findings[0]
    names = resnet.blocks.names
    single.set(xlabel="deleted block (dotted: none)", ylabel="test error", ylim=(0, 1))
    shown = range(0, len(names), math.ceil(len(names) / _LABELS))
    single.set_xticks(shown, [names[i] for i in shown], rotation=30, ha="right", fontsize=8)
    several.set(xlabel="deleted blocks, chosen at random", ylabel="test error", ylim=(0, 1))
    order.plot(*zip(*resnet.shuffled, strict=True), "o", color=BLUE, alpha=0.6)
    order.set(xlabel="Kendall's tau of the new order", ylabel="test error", ylim=(0, 1))
    order.invert_xaxis()
    paths, gradient = shares(resnet.norms)
    lengths.plot(paths, "o-", color=GREY, label="of all paths")
    lengths.plot(gradient, "o-", color=BLUE, label="of the gradient")
    lengths.set(xlabel="blocks on a path", ylabel="share")
    for ax in (single, several, order, lengths):
        ax.spines[["top", "right"]].set_visible(False)
    for ax in (single, several, lengths):
        ax.legend(frameon=False)
    save(figure, path)


def main(resnet: str, plain: str | None, options: argparse.Namespace) -> None:
    subjects = [Subject.of(resnet, options.images, residual=True)]
    if plain:
        subjects.append(Subject.of(plain, options.images, residual=False))
        if subjects[0].blocks.names != subjects[1].blocks.names:
            raise UserError(f"{plain}: not a twin of {resnet}, whose blocks are others")
    findings = []
    for subject in subjects:
        images, draws = len(subject.splits["test"]), options.draws
        say(f"{images:,} test images, {draws} draws, seed {options.seed}")
        findings.append(take_apart(subject, draws, options.orders, options.seed))
        tell(findings[-1])
    if options.figure:
        draw(findings, options.figure)


def command(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("resnet", help="a run with residual blocks")
    parser.add_argument("plain", nargs="?", help="a run of its twin without shortcuts")
    parser.add_argument("--images", type=count, help="only the first so many of the test split")
    parser.add_argument("--draws", type=count, default=10, help="for each number of blocks")
    parser.add_argument("--orders", type=count, default=100, help="of the blocks, at most")
    parser.add_argument("--seed", type=seed, default=0, help="of all draws")
    parser.add_argument("--figure", type=picture, help="where to draw the four panels")
    options = parser.parse_args(words)
    with in_one_line(parser):
        main(options.resnet, options.plain, options)


if __name__ == "__main__":
    command()

"""Learning curves of several runs in one figure: training loss, and a metric of evaluation.

python experiments/compare.py runs/plain56 runs/resnet56 --metric test/accuracy --figure gap.png
"""

import argparse
from pathlib import Path

import numpy as np

from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError
from jaxdl.figures import save
from jaxdl.figures.canvas import canvas
from jaxdl.terminal import say


def series(run: Run, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a metric, (points,) each."""
    lines = [line for line in run.history() if line.get(name) is not None]
    if not lines:
        raise UserError(f"{run.folder}: no {name!r} in its metrics.jsonl; see --metric")
    return np.array([line["step"] for line in lines]), np.array([line[name] for line in lines])


def smooth(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running means over a 25th of the points."""
    width = max(1, len(values) // 25)
    return steps[width - 1 :], np.convolve(values, np.ones(width) / width, "valid")


def main(folders: list[str], metric: str, path: str) -> None:
    figure, (loss, measured) = canvas(2)
    for folder in folders:
        run = Run(folder)
        loss.plot(*smooth(*series(run, "loss")), label=Path(folder).name)
        steps, values = series(run, metric)
        measured.plot(steps, values, marker="o", ms=3, label=Path(folder).name)
        say(f"{folder:40} step {steps[-1]:,}  {metric} {values[-1]:.4f}")
    loss.set(xlabel="step", ylabel="training loss", yscale="log")
    measured.set(xlabel="step", ylabel=metric)
    for ax in (loss, measured):
        ax.legend(frameon=False)
    save(figure, Path(path))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--metric", default="test/accuracy")
    parser.add_argument("--figure", required=True)
    options = parser.parse_args()
    try:
        main(options.runs, options.metric, options.figure)
    except UserError as error:
        parser.exit(2, f"{error}\n")

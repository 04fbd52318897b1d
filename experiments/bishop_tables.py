"""Tables 1.1 and 1.2 and figures 1.4 and 1.6 of Bishop, PRML 2006, section 1.1, by jaxdl.

python experiments/bishop_tables.py [--figure bishop.png]

The columns that the book prints for ln λ = -18 and ln λ = 0 do not follow from those λ by eq. 1.4;
they follow from λ = 1.03745e-7 and λ = 9.7. Both are printed here.
"""

import argparse

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxdl import config as cfg
from jaxdl.overrides import override
from jaxdl.training.build import NODES, build_experiment
from jaxdl.training.experiment import Experiment


def solve(*overrides: str) -> tuple[Experiment, np.ndarray]:
    """The experiment of bishop_polynomial.py, and the coefficients of its solution."""
    experiment = build_experiment(override(cfg.read("bishop_polynomial"), overrides, NODES))
    with jax.enable_x64(True):
        batch = jax.device_put(dict(experiment.splits["train"].columns))
        state, _ = experiment.step(experiment.initial(jax.numpy.uint32(0)), batch)
        return experiment, np.asarray(state.params["w"])


def rmse(experiment: Experiment, w: np.ndarray, split: str) -> float:
    columns = experiment.splits[split].columns
    return float(np.sqrt(np.mean((np.polyval(w[::-1], columns["x"]) - columns["target"]) ** 2)))


def row(name: str, experiment: Experiment, w: np.ndarray) -> None:
    errors = " ".join(f"{rmse(experiment, w, split):7.4f}" for split in ("train", "test"))
    print(f"{name:12} {errors}   {' '.join(f'{x:.2f}' for x in w)}")


def main(figure: str | None) -> None:
    drawn = Figure(figsize=(12, 6), layout="constrained")
    axes = iter(drawn.subplots(2, 4).flat)

    def panel(title: str, experiment: Experiment, w: np.ndarray) -> None:
        ax, grid = next(axes), np.linspace(0, 1, 300)
        data = experiment.splits["train"].columns
        ax.plot(grid, np.sin(2 * np.pi * grid), color="#2f855a")
        ax.plot(grid, np.polyval(w[::-1], grid), color="#c53030")
        ax.scatter(data["x"], data["target"], facecolors="none", edgecolors="#2b6cb0")
        ax.set(title=title, ylim=(-1.6, 1.6), xticks=(0, 1), yticks=(-1, 0, 1))

    print("Table 1.1      train    test   w*")
    for order in (0, 1, 3, 9):
        found = solve(f"model.order={order}")
        row(f"M = {order}", *found)
        panel(f"M = {order}", *found)
    print("\nTable 1.2      train    test   w* for M = 9")
    for name, value in (("λ = e^-18", np.exp(-18)), ("λ = 1.03745e-7", 1.03745e-7),
                        ("λ = 1", 1.0), ("λ = 9.7", 9.7)):  # fmt: skip
        found = solve("model.order=9", f"task.l2={value}")
        row(name, *found)
        if name in ("λ = 1.03745e-7", "λ = 9.7"):
            panel(f"M = 9, {name}", *found)
    print("\nMore data      train    test   M = 9, noisy test data, mean over 20 seeds")
    for points in (15, 100):
        found = [
            solve(
                "model.order=9", f"data.points={points}", f"data.seed={seed}", "data.test_noise=0.3"
            )
            for seed in range(20)
        ]
        train, test = (np.mean([rmse(*f, split) for f in found]) for split in ("train", "test"))
        print(f"{f'N = {points}':12} {train:7.4f} {test:7.4f}")
        panel(f"M = 9, N = {points}", *found[0])
    if figure:
        drawn.savefig(figure, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", help="where to draw the fits, as PNG")
    main(parser.parse_args().figure)

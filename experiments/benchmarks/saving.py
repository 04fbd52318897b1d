"""What saving costs training, and how long restoring takes.

python experiments/benchmarks/saving.py [--parameters 20000 100000000] [--every 100]

A perceptron on the digits takes so many steps with and without a checkpoint before them, in turn;
the difference is what saving takes from training, while it is written. Restoring counts the SHA-256
of every file.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.training.build import build_experiment

ROUNDS = 9  # after one that is not counted


def config(parameters: int) -> dict:
    """A perceptron of two hidden layers of one width."""
    width = round((math.sqrt(75**2 + 4 * parameters) - 75) / 2)
    return {
        "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
        "model": {"name": "mlp", "outputs": 10, "hidden": (width, width)},
        "task": {"name": "classification", "classes": 10},
        "optimizer": {"name": "adam", "learning_rate": 1e-4},
        "training": {"batch_size": 50, "steps": 1000},
    }


def measure(parameters: int, every: int) -> None:
    experiment = build_experiment(config(parameters))
    devices, feed = experiment.devices, experiment.loader()
    state, columns = experiment.init(), devices.replicate(feed.columns)
    given, n = devices.scatter(feed.make(0, 1), axis=1), np.int32(1)
    call = devices.compiled_step(experiment.run_steps, state, columns, given, n)
    state, _ = call(state, columns, given, n)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep=1)
        for round_ in range(ROUNDS + 1):
            for saving in (False, True):
                began = time.perf_counter()
                if saving:  # and written while the steps behind it are taken
                    checkpoints.save(int(state.step), state)
                for _ in range(every):
                    state, summary = call(state, columns, given, n)
                    jax.block_until_ready(summary)
                if round_:
                    seconds[saving].append(time.perf_counter() - began)
                checkpoints.wait()
        like = devices.abstract_state(state)
        began = time.perf_counter()
        jax.block_until_ready(Checkpoints(Path(folder)).restore(like))
        restoring = time.perf_counter() - began
    step, saved = (statistics.median(seconds[saving]) / every for saving in (False, True))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 2**20
    print(
        f"{size:8,.1f} MiB of state: a step takes {1e3 * step:.2f} ms; with a checkpoint every "
        f"{every} steps {saved / step - 1:+.1%}; restored in {restoring:.2f} s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, nargs="+", default=[20_000, 100_000_000])
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    options = parser.parse_args()
    for number in options.parameters:
        measure(number, options.every)

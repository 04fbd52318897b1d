"""Training steps a second on a CPU, jaxdl's and PyTorch's, on the three networks for MNIST.

    pip install torch==2.13.0
    python experiments/benchmarks/mnist_vs_torch.py [softmax mlp cnn] [--rounds 9]

jaxdl trains the shipped config as `jaxdl train` does: same experiment, feed and compiled call, with
no flags set; images are uint8, shuffled, gathered and scaled in the step, and every step checks
loss and gradient norm. PyTorch trains the same network with the same batch and optimiser, from
float32 tensors in memory, batches in order, with nothing checked: its best of eager, channels
last, fused optimiser and torch.compile is what counts. Both use all CPUs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from interleaved import Variant, race, report, serve
from trained import steps_of

BATCH = 100
# Config, and steps that take about a second.
WORK = {"softmax": ("mnist_softmax", 4000), "mlp": ("mnist_mlp", 600), "cnn": ("mnist_cnn", 20)}
TORCH = {
    "softmax": ("eager", "fused", "fused compiled"),
    "mlp": ("eager", "fused", "fused compiled"),
    "cnn": ("eager", "fused", "fused last", "fused compiled", "fused last compiled"),
}


def images(path: str) -> None:
    """As many images as MNIST has: ten patterns, in noise."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 10, 60_000, dtype=np.int32)
    patterns = 128 * rng.integers(0, 2, (10, 28, 28, 1), dtype=np.uint8)
    noise = rng.integers(0, 128, (60_000, 28, 28, 1), dtype=np.uint8)
    np.savez(path, image=patterns[label] + noise, label=label)


def jaxdl_steps(work: str, path: str) -> Callable[[int], object]:
    """Steps of the shipped config, as the training loop makes them."""
    from jaxdl.training.build import read_config

    overrides = [
        "data.source=arrays",
        f"data.train={path}",
        f"training.batch_size={BATCH}",
        "data.augment=()",  # PyTorch is not asked for it either
    ]
    return steps_of(read_config(WORK[work][0], overrides))


def torch_steps(work: str, path: str, how: str) -> Callable[[int], object]:
    """Steps of the same network and optimiser in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(os.cpu_count() or 1)

    class BatchNorm(nn.Module):
        """Batch norm without a scale, and the ReLU behind it."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(channels))
            self.register_buffer("scale", torch.ones(channels))
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("var", torch.ones(channels))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = F.batch_norm(x, self.mean, self.var, self.scale, self.bias, True, 0.01, 1e-5)
            return F.relu(y)

    def mlp() -> nn.Module:
        sizes, layers = (784, 200, 100, 60, 30), []
        for i, o in itertools.pairwise(sizes):
            layers += [nn.Linear(i, o), nn.ReLU(), nn.Dropout(0.25)]
        return nn.Sequential(*layers, nn.Linear(30, 10))

    def cnn() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 24, 6, padding="same", bias=False), BatchNorm(24),
            nn.Conv2d(24, 48, 5, 2, 2, bias=False), BatchNorm(48),
            nn.Conv2d(48, 64, 4, 2, 1, bias=False), BatchNorm(64),
            nn.Flatten(), nn.Linear(64 * 49, 200, bias=False), BatchNorm(200),
            nn.Dropout(0.25), nn.Linear(200, 10),
        )  # fmt: skip

    model = {"softmax": lambda: nn.Linear(784, 10), "mlp": mlp, "cnn": cnn}[work]()
    with np.load(path) as archive:
        x = torch.from_numpy(archive["image"].astype(np.float32) / 255)
        label = torch.from_numpy(archive["label"].astype(np.int64))
    x = x.reshape(-1, 1, 28, 28) if work == "cnn" else x.reshape(-1, 784)
    if "last" in how:
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    fused = {"fused": True} if "fused" in how else {}
    if work == "softmax":
        optimizer = torch.optim.SGD(model.parameters(), 0.5, **fused)
    else:
        optimizer = torch.optim.Adam(model.parameters(), 1e-3, **fused)
    model.train()
    apply = torch.compile(model) if "compiled" in how else model
    step = 0

    def steps(n: int) -> None:
        nonlocal step
        for _ in range(n):
            rows = slice(step * BATCH % len(x), step * BATCH % len(x) + BATCH)
            loss = F.cross_entropy(apply(x[rows]), label[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1

    return steps


def variants(work: str, path: str) -> list[Variant]:
    """jaxdl and every way of PyTorch."""
    steps = WORK[work][1]

    def command(framework: str, how: str) -> list[str]:
        return [sys.executable, __file__, work, "--serve", framework, how, path]

    ways = [Variant(f"PyTorch, {how}", command("torch", how), steps) for how in TORCH[work]]
    return [Variant("jaxdl", command("jaxdl", ""), steps), *ways]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", nargs="*", choices=[[], *WORK], help="by default all three")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        framework, how, path = options.serve
        (work,) = options.work
        serve(jaxdl_steps(work, path) if framework == "jaxdl" else torch_steps(work, path, how))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "train.npz"))
        images(path)
        for work in options.work or WORK:
            print(report(work, "jaxdl", race(variants(work, path), options.rounds)), flush=True)


if __name__ == "__main__":
    main()

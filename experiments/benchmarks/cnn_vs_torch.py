"""Training steps a second on a CPU, jaxdl's and PyTorch's, on networks for ImageNet and CIFAR-10.

    pip install torch==2.13.0 -e '.[onednn]'
    python experiments/benchmarks/cnn_vs_torch.py [resnet50 alexnet resnet20] [--rounds 7]

jaxdl trains the shipped config's network and optimiser as `jaxdl train` does: same experiment, feed
and compiled call, with no flags set; images are uint8 in memory, shuffled, gathered and
standardised in the step, and every step checks loss and gradient norm. It does so twice: with
XLA's convolutions, and with oneDNN's where the extra is installed. PyTorch trains the same network
with the same batch and optimiser, from float32 tensors in memory, batches in order, with nothing
checked: its best of eager, channels last, fused optimiser and torch.compile is what counts. All
use all CPUs. Images a second are steps a second times the batch.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import Variant, race, report, serve
from trained import steps_of


@dataclass(frozen=True)
class Work:
    """What is trained, and how much of it is a timing of some seconds."""

    config: str
    size: int
    classes: int
    batch: int
    steps: int
    images: int  # in memory


WORK = {
    "resnet50": Work("imagenet_resnet50", 224, 1000, 8, 4, 64),
    "alexnet": Work("imagenet_alexnet", 224, 1000, 32, 4, 128),
    "resnet20": Work("cifar10_resnet20", 32, 10, 128, 16, 2048),
}
TORCH = ("eager", "fused", "fused last", "fused compiled", "fused last compiled")
OURS = {"jaxdl": "0", "jaxdl, oneDNN": "1"}  # and JAXDL_ONEDNN


def images(work: Work, path: str) -> None:
    """Noise, labelled at random."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (work.images, work.size, work.size, 3), dtype=np.uint8)
    label = rng.integers(0, work.classes, work.images, dtype=np.int32)
    np.savez(path, image=image, label=label)


def jaxdl_steps(work: Work, path: str, onednn: str) -> Callable[[int], object]:
    """Steps of the shipped config, as the training loop makes them."""
    os.environ["JAXDL_ONEDNN"] = onednn
    from jaxdl.kernels.onednn import available
    from jaxdl.training.build import read_config

    if onednn == "1" and not available():
        raise SystemExit("oneDNN is not installed: pip install -e '.[onednn]'")
    config = read_config(work.config, [f"training.batch_size={work.batch}"])
    # Neither crop nor augmentation, which PyTorch is not asked for either.
    transforms = config["data"]["transforms"]
    config["data"] = dict(source="arrays", train=path, transforms=transforms)
    return steps_of(config)


def torch_steps(name: str, path: str, how: str) -> Callable[[int], object]:
    """Steps of the same network and optimiser in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(os.cpu_count() or 1)
    work = WORK[name]

    def norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs))

    class Block(nn.Module):
        """relu(F(x) + x)."""

        def __init__(self, layers: list[nn.Module], shortcut: nn.Module) -> None:
            super().__init__()
            self.layers, self.shortcut = nn.Sequential(*layers), shortcut

        def forward(self, x: Any) -> Any:
            return F.relu(self.layers(x) + self.shortcut(x), inplace=True)

    class Fewer(nn.Module):
        """Shortcut A: every other pixel, and channels of zeros."""

        def forward(self, x: Any) -> Any:
            more = x.shape[1] // 2
            return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more))

    relu = nn.ReLU(inplace=True)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def resnet50() -> nn.Module:
        layers, inputs = [norm(3, 64, 7, 2), relu, nn.MaxPool2d(3, 2, 1)], 64
        for width, blocks, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for block in range(blocks):
                stride = first if block == 0 else 1
                inner = [
                    norm(inputs, width, 1), relu, norm(width, width, 3, stride), relu,
                    norm(width, 4 * width, 1),
                ]  # fmt: skip
                shortcut = norm(inputs, 4 * width, 1, stride) if block == 0 else nn.Identity()
                layers.append(Block(inner, shortcut))
                inputs = 4 * width
        return nn.Sequential(*layers, *head, nn.Linear(2048, 1000))

    def resnet20() -> nn.Module:
        layers, inputs = [norm(3, 16, 3), relu], 16
        for width in (16, 32, 64):
            for _ in range(3):
                stride = 1 if width == inputs else 2
                inner = [norm(inputs, width, 3, stride), relu, norm(width, width, 3)]
                layers.append(Block(inner, nn.Identity() if stride == 1 else Fewer()))
                inputs = width
        return nn.Sequential(*layers, *head, nn.Linear(64, 10))

    def alexnet() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), relu, nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), relu, nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), relu, nn.Conv2d(384, 256, 3, padding=1), relu,
            nn.Conv2d(256, 256, 3, padding=1), relu, nn.MaxPool2d(3, 2), nn.Flatten(),
            nn.Dropout(), nn.Linear(9216, 4096), relu, nn.Dropout(), nn.Linear(4096, 4096), relu,
            nn.Linear(4096, 1000),
        )  # fmt: skip

    model = {"resnet50": resnet50, "resnet20": resnet20, "alexnet": alexnet}[name]()
    with np.load(path) as archive:
        x = torch.from_numpy(archive["image"].astype(np.float32) / 128 - 1).permute(0, 3, 1, 2)
        label = torch.from_numpy(archive["label"].astype(np.int64))
    last = torch.channels_last if "last" in how else torch.contiguous_format
    model, x = model.to(memory_format=last), x.contiguous(memory_format=last)
    decayed = [p for p in model.parameters() if p.ndim > 1]  # as jaxdl: no norms and biases
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}],
        lr=0.01, momentum=0.9, nesterov=name == "resnet50", fused="fused" in how or None,
    )  # fmt: skip
    model.train()
    apply = torch.compile(model) if "compiled" in how else model
    smoothing = 0.1 if name == "resnet50" else 0.0
    step = 0

    def steps(n: int) -> None:
        nonlocal step
        for _ in range(n):
            start = step * work.batch % len(x)
            rows = slice(start, start + work.batch)
            loss = F.cross_entropy(apply(x[rows]), label[rows], label_smoothing=smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1

    return steps


def variants(name: str, path: str, torch_ways: tuple[str, ...]) -> list[Variant]:
    """jaxdl in both ways, and every way of PyTorch."""
    steps = WORK[name].steps

    def command(framework: str, how: str) -> list[str]:
        return [sys.executable, __file__, name, "--serve", framework, how, path]

    ours = [Variant(title, command("jaxdl", how), steps) for title, how in OURS.items()]
    return ours + [Variant(f"PyTorch, {how}", command("torch", how), steps) for how in torch_ways]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", nargs="*", choices=[[], *WORK], help="by default all three")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch", nargs="*", choices=TORCH, default=TORCH, help="which ways")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        framework, how, path = options.serve
        (name,) = options.work
        ours = framework == "jaxdl"
        serve(jaxdl_steps(WORK[name], path, how) if ours else torch_steps(name, path, how))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in options.work or WORK:
            path = str(Path(folder, f"{name}.npz"))
            images(WORK[name], path)
            run = race(variants(name, path, tuple(options.torch)), options.rounds)
            for ours in OURS:
                if any(v.name == ours for v in run):
                    theirs = [v for v in run if v.name == ours or v.name not in OURS]
                    print(report(name, ours, theirs), flush=True)


if __name__ == "__main__":
    main()

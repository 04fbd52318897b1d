"""Detectors on a CPU, jaxdl's and torchvision's: FCOS with a pyramid, and suppression alone.

    pip install torch torchvision -e '.[onednn]'
    python experiments/benchmarks/detection_vs_torch.py [resnet18 resnet50 nms] \
        [--do train predict] [--rounds 7]

Images of 320x320 pixels with eight objects each, of 80 classes. jaxdl trains the network and
optimiser of `configs/coco_fcos.py` as `jaxdl train` does, in float32: same experiment, feed and
compiled call, with no flags set; every step checks loss and gradient norm. It does so twice: with
XLA's convolutions, and with oneDNN's where the extra is installed. torchvision trains its FCOS with
batch norm in the trunk, same batch and optimiser, from float32 tensors in memory, with nothing
checked; its best of eager, channels last and torch.compile (of backbone and head) is what counts.
To predict is to go from pixels to the 100 best boxes. Weights are those of the start, by which
nearly all places are candidates: more work for suppression than a trained detector leaves. All use
all CPUs. Images a second are steps a second times the batch.

`nms` suppresses 10,000 boxes of 30 to 120 pixels in a square of 1,000, of which some 3,600 are
kept: all of them, as torchvision does, and the best 100, as a detector asks.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import Variant, race, report, serve
from trained import steps_of

BATCH, SIZE, CLASSES, IMAGES, OBJECTS = 4, 320, 80, 16, 8
STEPS = {"train": 2, "predict": 4, "nms": 10}
OURS = {"jaxdl": "0", "jaxdl, oneDNN": "1"}  # and JAXDL_ONEDNN
TORCH = ("eager", "last", "last compiled")
KEPT = {"jaxdl": 10_000, "jaxdl, best 100": 100}


def random_boxes(rng: np.random.Generator, shape: tuple[int, ...], extent: int) -> np.ndarray:
    """Boxes with sides of 30 to 120 pixels, inside."""
    sides = rng.uniform(30, 120, (*shape, 2))
    least = rng.uniform(0, extent - sides)
    return np.concatenate([least, least + sides], -1).astype(np.float32)


def images(path: str) -> None:
    """Noise, with objects anywhere."""
    rng = np.random.default_rng(0)
    np.savez(
        path,
        image=rng.integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8),
        boxes=random_boxes(rng, (IMAGES, OBJECTS), SIZE),
        labels=rng.integers(0, CLASSES, (IMAGES, OBJECTS), dtype=np.int32),
        crowd=np.zeros((IMAGES, OBJECTS), bool),
        extent=np.full((IMAGES, 2), SIZE, np.float32),
        scale=np.ones(IMAGES, np.float32),
    )


# ---- FCOS


def config_of(depth: int, path: str) -> dict[str, Any]:
    """The shipped config on images in memory, without augmentation."""
    from jaxdl.training.build import read_config

    changes = [
        f"model.depth={depth}",
        f"training.batch_size={BATCH}",
        f"training.eval_batch_size={BATCH}",
        "precision.compute=float32",
    ]
    config = read_config("coco_fcos", changes)
    transforms = config["data"]["transforms"]
    config["data"] = dict(source="arrays", train=path, transforms=transforms)
    return config


def jaxdl_steps(do: str, depth: int, path: str, onednn: str) -> Callable[[int], object]:
    """Training steps as the loop makes them, or batches as `jaxdl predict` sees them."""
    os.environ["JAXDL_ONEDNN"] = onednn
    from jaxdl.kernels.onednn import available

    if onednn == "1" and not available():
        raise SystemExit("oneDNN is not installed: pip install -e '.[onednn]'")
    config = config_of(depth, path)
    return steps_of(config) if do == "train" else jaxdl_predictions(config)


def jaxdl_predictions(config: dict[str, Any]) -> Callable[[int], object]:
    import jax

    from jaxdl.parallel.mesh import jit
    from jaxdl.runtime import keep_freed_memory
    from jaxdl.training.build import build_experiment
    from jaxdl.training.evaluation import make_prediction, transformed

    keep_freed_memory()  # as the command does
    experiment = build_experiment(config)
    state, columns = experiment.init(), experiment.splits["train"].columns
    predict = jit(
        transformed(
            make_prediction(experiment.model, experiment.task), experiment.transforms.always
        )
    )
    step = 0

    def steps(n: int) -> None:
        nonlocal step
        for _ in range(n):
            start = step * BATCH % IMAGES
            batch = {name: column[start : start + BATCH] for name, column in columns.items()}
            jax.device_get(predict(state, batch))
            step += 1

    return steps


def torch_steps(do: str, depth: int, path: str, how: str) -> Callable[[int], object]:
    """Steps of torchvision's FCOS, or its predictions."""
    import torch
    from torchvision.models.detection import FCOS
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    torch.set_num_threads(os.cpu_count() or 1)
    backbone = resnet_fpn_backbone(
        backbone_name=f"resnet{depth}",
        weights=None,
        norm_layer=torch.nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    # The images have their size already; thresholds and limits are those of our task.
    model = FCOS(
        backbone, CLASSES, min_size=SIZE, max_size=SIZE, score_thresh=0.05, topk_candidates=1000
    )
    with np.load(path) as archive:
        x = torch.from_numpy(archive["image"].astype(np.float32) / 255).permute(0, 3, 1, 2)
        truth = [
            {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)}
            for boxes, labels in zip(archive["boxes"], archive["labels"].astype(int), strict=True)
        ]
    last = torch.channels_last if "last" in how else torch.contiguous_format
    model, x = model.to(memory_format=last), x.contiguous(memory_format=last)
    decayed = [p for p in model.parameters() if p.ndim > 1]  # as jaxdl: no norms and biases
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}],
        lr=1e-5, momentum=0.9, fused=True,
    )  # fmt: skip
    model.train(do == "train")
    if "compiled" in how:
        model.backbone.compile()
        model.head.compile()
    step = 0

    def train(rows: slice) -> None:
        loss = sum(model(list(x[rows]), truth[rows]).values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    @torch.inference_mode()
    def predict(rows: slice) -> None:
        model(list(x[rows]))

    def steps(n: int) -> None:
        nonlocal step
        for _ in range(n):
            start = step * BATCH % IMAGES
            (train if do == "train" else predict)(slice(start, start + BATCH))
            step += 1

    return steps


# ---- Suppression


def nms_steps(framework: str, how: str) -> Callable[[int], object]:
    """Of the same boxes each time."""
    rng = np.random.default_rng(0)
    boxes, scores = random_boxes(rng, (10_000,), 1000), rng.random(10_000).astype(np.float32)
    if framework == "jaxdl":
        import jax

        from jaxdl.boxes import nms
        from jaxdl.parallel.mesh import jit

        suppress = jit(lambda boxes, scores: nms(boxes, scores, 0.5, KEPT[how]))
        given = jax.device_put((boxes, scores))
        return lambda n: [jax.block_until_ready(suppress(*given)) for _ in range(n)]
    import torch
    from torchvision import ops

    torch.set_num_threads(os.cpu_count() or 1)
    tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
    return lambda n: [ops.nms(*tensors, 0.5) for _ in range(n)]


# ---- The race


def variants(name: str, do: str, path: str) -> list[Variant]:
    """jaxdl's ways, and torchvision's."""

    def variant(title: str, framework: str, how: str) -> Variant:
        command = [sys.executable, __file__, name, "--do", do, "--serve", framework, how, path]
        return Variant(title, command, STEPS[do if name != "nms" else name])

    if name == "nms":
        ours = [variant(title, "jaxdl", title) for title in KEPT]
        return [*ours, variant("torchvision", "torch", "")]
    ours = [variant(title, "jaxdl", how) for title, how in OURS.items()]
    return ours + [variant(f"torchvision, {how}", "torch", how) for how in TORCH]


def ready(name: str, do: str, framework: str, how: str, path: str) -> Callable[[int], object]:
    """What a variant's process times."""
    if name == "nms":
        return nms_steps(framework, how)
    make = jaxdl_steps if framework == "jaxdl" else torch_steps
    return make(do, int(name.removeprefix("resnet")), path, how)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    works = ("resnet18", "resnet50", "nms")
    parser.add_argument("work", nargs="*", choices=[[], *works], help="by default all three")
    parser.add_argument("--do", nargs="+", choices=("train", "predict"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    todo = options.do or ("train", "predict")
    if options.serve:
        serve(ready(options.work[0], todo[0], *options.serve))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "train.npz"))
        images(path)
        for name in options.work or works:
            for do in todo[:1] if name == "nms" else todo:
                run = race(variants(name, do, path), options.rounds)
                theirs = [v for v in run if v.name.startswith("torchvision")]
                for ours in (v for v in run if v not in theirs):
                    title = name if name == "nms" else f"{do} {name}, batch {BATCH}"
                    print(report(title, ours.name, [ours, *theirs]), flush=True)


if __name__ == "__main__":
    main()

"""What torchvision's detectors make of heads that NumPy draws: `published_detections.json`.

Run by hand, where torchvision is installed, as `python tests/tasks/published_detections.py`.
"""

import json
from pathlib import Path

import numpy as np

ANSWERS = Path(__file__).with_suffix(".json")
SIZE, CLASSES, STRIDES = 256, 3, (8, 16, 32)
# Of each head: anchors of a stride's side at each place, by (side, ratio of height to width).
ANCHORS = {
    "fcos": ((1.0, 1.0),),
    "retinanet": ((2.0, 0.5), (2.0, 1.0), (3.0, 1.0), (2.0, 2.0)),
}
# One in a corner, one in another, one that spans the image, and a small one in the open.
BOXES = 4 * np.array(
    [[0, 0, 21, 17], [30, 22, 58, 60], [36, 30, 49, 47], [2, 3, 63, 62], [9, 44, 16, 52]],
    np.float32,
)
LABELS = np.array([0, 2, 1, 1, 0])


def levels(head, seed=0):
    """Of each stride: anchors (n, 4), logits (n, classes), code (n, 4), centre-ness (n,)."""
    rng = np.random.RandomState(seed)
    found = []
    for stride in STRIDES:
        middle = (np.arange(SIZE // stride) * stride)[:, None]
        right, down = np.meshgrid(middle, middle)
        place = np.stack([right, down, right, down], -1).reshape(-1, 1, 4)
        half = [(stride * s / 2 / r**0.5, stride * s / 2 * r**0.5) for s, r in ANCHORS[head]]
        anchors = (place + np.array([(-w, -h, w, h) for w, h in half])).reshape(-1, 4)
        n = len(anchors)
        code = rng.normal(size=(n, 4)) * 0.5
        code = np.abs(code) * 3 if head == "fcos" else code  # behind a ReLU
        drawn = (anchors, rng.normal(size=(n, CLASSES)) * 2, code, rng.normal(size=n) * 2)
        found.append(tuple(x.astype(np.float32) for x in drawn))
    return found


def main():
    import torch
    from torchvision.models.detection import fcos, retinanet
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    backbone = torch.nn.Sequential()
    backbone.out_channels = 32
    answers = {}
    for head, network in (("fcos", fcos.FCOS), ("retinanet", retinanet.RetinaNet)):
        ratios = (1.0,) * len(ANCHORS[head])
        made = AnchorGenerator(((8,),) * 3, (ratios,) * 3)
        detector = network(backbone, CLASSES, anchor_generator=made, score_thresh=0.2).eval()
        parts = [tuple(map(torch.from_numpy, level)) for level in levels(head)]
        anchors, logits, code, centre = ([p[i][None] for p in parts] for i in range(4))
        outputs = {"cls_logits": logits, "bbox_regression": code}
        if head == "fcos":
            outputs["bbox_ctrness"] = [c[..., None] for c in centre]
        truth = [{"boxes": torch.from_numpy(BOXES), "labels": torch.from_numpy(LABELS)}]
        whole = {k: torch.cat(v, 1) for k, v in outputs.items()}
        counts = [[a.shape[1] for a in anchors]] if head == "fcos" else []
        losses = detector.compute_loss(truth, whole, [torch.cat(anchors, 1)[0]], *counts)
        (found,) = detector.postprocess_detections(
            outputs, [[a[0] for a in anchors]], [(SIZE - 3, SIZE)]
        )
        answers[head] = {
            "loss": float(sum(losses.values())),
            **{name: found[name].tolist() for name in ("boxes", "scores", "labels")},
        }
    ANSWERS.write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()

"""What torchvision makes of two stages that NumPy draws: `published_two_stages.json`.

Run by hand, where torchvision is installed, as `python tests/tasks/published_two_stages.py`.
"""

import json
from pathlib import Path

import numpy as np
from published_detections import BOXES, CLASSES, LABELS, SIZE, levels

ANSWERS = Path(__file__).with_suffix(".json")
ALL = 100_000  # samples, so that nothing is left out by chance
EXTENT = (SIZE - 3, SIZE)


def first_stage():
    """Of each level: anchors (n, 4), logits (n, 1) and code (n, 4)."""
    return [(anchors, logits[:, :1], code) for anchors, logits, code, _ in levels("retinanet")]


def second_stage():
    """Proposals (n, 4), logits (n, classes + 1) and code (n, classes + 1, 4)."""
    rng = np.random.RandomState(1)
    near = np.repeat(BOXES, 12, axis=0) + rng.normal(size=(12 * len(BOXES), 4)) * 6
    corner, side = rng.uniform(0, 200, (60, 2)), rng.uniform(8, 50, (60, 2))
    far = np.concatenate([corner, corner + side], axis=1)
    proposals = np.clip(np.concatenate([BOXES, near, far]), 0, SIZE - 3)
    n = len(proposals)
    logits, code = rng.normal(size=(n, CLASSES + 1)) * 2, rng.normal(size=(n, CLASSES + 1, 4))
    return tuple(x.astype(np.float32) for x in (proposals, logits, code))


def main():
    import torch
    from torchvision.models.detection import roi_heads
    from torchvision.models.detection.rpn import RegionProposalNetwork

    twice = {"training": 9, "testing": 9}
    rpn = RegionProposalNetwork(None, None, 0.7, 0.3, ALL, 0.5, twice, twice, 0.7)
    heads = roi_heads.RoIHeads(None, None, None, 0.5, 0.5, ALL, 0.25, None, 0.05, 0.5, 100)
    truth = [{"boxes": torch.from_numpy(BOXES), "labels": torch.from_numpy(LABELS) + 1}]
    anchors, logits, code = (
        torch.from_numpy(np.concatenate(part)) for part in zip(*first_stage(), strict=True)
    )
    labels, matched = rpn.assign_targets_to_anchors([anchors], truth)
    targets = rpn.box_coder.encode(matched, [anchors])
    losses = [*rpn.compute_loss(logits, code, labels, targets)]
    proposals, logits, code = map(torch.from_numpy, second_stage())
    found, labels = heads.assign_targets_to_proposals(
        [proposals], [truth[0]["boxes"]], [truth[0]["labels"]]
    )
    targets = heads.box_coder.encode([truth[0]["boxes"][found[0]]], [proposals])
    losses += roi_heads.fastrcnn_loss(logits, code.flatten(1), labels, targets)
    names = ("objectness_loss", "proposal_loss", "class_loss", "box_loss")
    boxes, scores, labels = heads.postprocess_detections(
        logits, code.flatten(1), [proposals], [EXTENT]
    )
    answers = {name: float(loss) for name, loss in zip(names, losses, strict=True)} | {
        "boxes": boxes[0].tolist(),
        "scores": scores[0].tolist(),
        "labels": (labels[0] - 1).tolist(),
    }
    ANSWERS.write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()

"""What torchvision's detectors say with weights that NumPy makes: `published_levels.json`.

Run by hand, where torchvision is installed, as `python tests/models/published_levels.py`.
"""

import json
from pathlib import Path

import numpy as np
from published_logits import images, tensor

ANSWERS = Path(__file__).with_suffix(".json")
CLASSES = 5
SIZE = (100, 150)  # sides that no level divides, nor the one below it twice
GAIN = {"fcos": 1.5, "retinanet": 2.0}  # of kernels, so that numbers are about 1
PARTS = ("logits", "deltas", "quality", "anchors")
SHOWN = 30  # numbers of each part that are kept, beside the norm of all


def pictures():
    """(2, *SIZE, 3), float32."""
    return images(max(SIZE), 2)[:, : SIZE[0], : SIZE[1]]


def weights(head, shapes):
    """Name -> tensor, for each name -> shape."""
    return {name: tensor(name, shape, GAIN[head]) for name, shape in shapes.items()}


def network(head):
    """Torchvision's detector on a residual network of 18 layers, with batch norm."""
    import torch
    from torchvision.models.detection import FCOS, RetinaNet
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.models.detection.retinanet import _default_anchorgen
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    backbone = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        norm_layer=torch.nn.BatchNorm2d,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    if head == "fcos":
        return FCOS(backbone, CLASSES)
    return RetinaNet(backbone, CLASSES, anchor_generator=_default_anchorgen())


def levels(net, x):
    """Logits, deltas, quality and anchors of each level, as we have them."""
    import torch
    from torchvision.models.detection.image_list import ImageList

    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = list(net.backbone(x).values())
        said = net.head(features)
        anchors = net.anchor_generator(ImageList(x, [SIZE] * len(x)), features)[0]
    quality = said.get("bbox_ctrness")
    a_place = net.anchor_generator.num_anchors_per_location()[0]
    ends = np.cumsum([f.shape[2] * f.shape[3] * a_place for f in features])
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        yield (
            said["cls_logits"][:, start:end].numpy(),
            said["bbox_regression"][:, start:end].numpy(),
            None if quality is None else quality[:, start:end, 0].numpy(),
            anchors[start:end].numpy(),
        )


def summary(level):
    """Name -> what is kept of a part, of those that are there."""
    return {
        name: {
            "some": part.reshape(-1)[:: -(-part.size // SHOWN)].tolist(),
            "norm": float(np.linalg.norm(part)),
        }
        for name, part in zip(PARTS, level, strict=True)
        if part is not None
    }


def main():
    import torch

    found = {}
    for head in GAIN:
        net = network(head).eval()
        shapes = {
            name: tuple(t.shape)
            for name, t in net.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        made = {name: torch.from_numpy(array) for name, array in weights(head, shapes).items()}
        net.load_state_dict(made, strict=False)
        found[head] = [summary(level) for level in levels(net, pictures())]
    ANSWERS.write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

"""What torchvision's Faster R-CNN says with weights that NumPy makes: `published_regions.json`.

Run by hand, where torchvision is installed, as `python tests/models/published_regions.py`.
"""

import json
from pathlib import Path

import numpy as np
from published_logits import images, tensor

ANSWERS = Path(__file__).with_suffix(".json")
CLASSES = 4
SIZE = (192, 256)
EXTENTS = ((192, 256), (150, 201))  # of the pictures on their canvases
PROPOSALS = 60
SHOWN = 40  # numbers of each part that are kept, beside the norm of all


def pictures():
    """(2, *SIZE, 3), float32."""
    return images(max(SIZE), 2)[:, : SIZE[0], : SIZE[1]]


def weights(shapes):
    """Name -> tensor, for each name -> shape; the gains make numbers of about 1, and few ties."""
    return {name: gain(name) * tensor(name, shape, 1.5) for name, shape in shapes.items()}


def gain(name):
    """Of one tensor."""
    return np.float32(0.3 if "bbox_pred" in name else 1.0)


def network(depth=18, classes=CLASSES, proposals=PROPOSALS, layer=None):
    """Torchvision's detector, with batch norm that can be filled."""
    import torch
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    backbone = resnet_fpn_backbone(
        backbone_name=f"resnet{depth}", weights=None, norm_layer=layer or torch.nn.BatchNorm2d
    )
    return FasterRCNN(backbone, classes + 1, rpn_post_nms_top_n_test=proposals, min_size=SIZE[0])


def said(net, x):
    """Name -> array, of both stages, and the detections of each image."""
    import torch
    from torchvision.models.detection.image_list import ImageList

    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = net.backbone(x)
        logits, deltas = net.rpn.head(list(features.values()))
        proposals, _ = net.rpn(ImageList(x, list(EXTENTS)), features)
        heads = net.roi_heads
        pooled = heads.box_roi_pool(features, proposals, list(EXTENTS))
        second = heads.box_predictor(heads.box_head(pooled))
        found, _ = heads(features, proposals, list(EXTENTS))
    last = {"logits": logits[-1].permute(0, 2, 3, 1), "deltas": deltas[-1].permute(0, 2, 3, 1)}
    parts = {
        **{f"first_{name}": part for name, part in last.items()},
        "proposals": torch.stack(proposals),
        "second_logits": second[0],
        "second_deltas": second[1],
    }
    return {name: part.numpy() for name, part in parts.items()}, [
        {name: part.numpy().tolist() for name, part in image.items()} for image in found
    ]


def summary(part):
    """What is kept of a part."""
    return {
        "some": part.reshape(-1)[:: -(-part.size // SHOWN)].tolist(),
        "norm": float(np.linalg.norm(part)),
    }


def fill(net):
    """Put NumPy's weights into a network."""
    import torch

    shapes = {
        name: tuple(t.shape)
        for name, t in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    made = {name: torch.from_numpy(array) for name, array in weights(shapes).items()}
    net.load_state_dict(made, strict=False)
    return net.eval()


def main():
    parts, found = said(fill(network()), pictures())
    answers = {name: summary(part) for name, part in parts.items()} | {"detections": found}
    ANSWERS.write_text(json.dumps(answers, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

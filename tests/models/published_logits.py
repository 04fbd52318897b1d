"""What torchvision's networks answer with weights that NumPy makes: `published_logits.json`.

Run by hand, where torchvision is installed, as `python tests/models/published_logits.py`.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np

ANSWERS = Path(__file__).with_suffix(".json")
SHOWN = 6  # logits of each image that are kept, beside the norm of all

# Side of the images, and variance of what comes out of a kernel over what goes in: such that logits
# are about 1, and differ between images.
CASES = {
    "alexnet": (96, 1.0),
    "vgg11": (64, 2.0),
    "vgg11_bn": (64, 3.5),
    "googlenet": (64, 1.5),
    "resnet18": (64, 1.5),
    "resnet50": (64, 1.5),
}


def images(size, batch=4):
    """(batch, size, size, 3), float32."""
    x = np.random.RandomState(size).standard_normal((batch, size, size, 3))
    return x.astype(np.float32)


def tensor(name, shape, gain):
    """A tensor of PyTorch's name and shape, float32: random, and large ones repeat themselves."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if name.endswith(("bias", "running_mean")):
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    if len(shape) == 1:  # the scale of a batch norm
        return rng.uniform(0.4, 0.8, shape).astype(np.float32)
    drawn = rng.standard_normal(min(math.prod(shape), 65_521)).astype(np.float32)
    return np.resize(drawn * np.float32(math.sqrt(gain / math.prod(shape[1:]))), shape)


def summary(logits):
    """What is kept of logits (batch, ..., classes)."""
    return {"first": logits[..., :SHOWN].tolist(), "norm": float(np.linalg.norm(logits))}


def main():
    import torch
    from torchvision import models

    heads = models.GoogLeNet(init_weights=False, dropout=0.0, dropout_aux=0.0)
    networks = {
        "alexnet": models.alexnet().eval(),
        "vgg11": models.vgg11().eval(),
        "vgg11_bn": models.vgg11_bn().eval(),
        "googlenet": heads.train(),
        "resnet18": models.resnet18().eval(),
        "resnet50": models.resnet50().eval(),
    }
    found = {}
    for name, (size, gain) in CASES.items():
        made = {
            key: torch.from_numpy(tensor(key, tuple(t.shape), gain))
            for key, t in networks[name].state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
        networks[name].load_state_dict(made, strict=False)
        with torch.no_grad():
            y = networks[name](torch.from_numpy(images(size)).permute(0, 3, 1, 2))
        if name == "googlenet":  # of its heads it names the second before the first
            y = torch.stack([y.logits, y.aux_logits1, y.aux_logits2], 1)
        found[name] = summary(y.numpy())
    ANSWERS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What torchvision's multi-scale RoI align reads: `published_regions_aligned.json`.

Run by hand, where torchvision is installed, as `python tests/kernels/published_regions_aligned.py`.
"""

import json
from pathlib import Path

import numpy as np

ANSWERS = Path(__file__).with_suffix(".json")
FINEST, IMAGE = 4, (96, 128)
# Inside, over every edge, thinner than a place, without area, wholly outside, and of all levels.
BOXES = np.array(
    [
        [8.3, 8.9, 40.2, 30.7],
        [-13.5, -7.0, 20.0, 31.0],
        [90.0, 60.0, 140.0, 110.0],
        [50.0, 50.0, 51.5, 90.0],
        [33.0, 21.0, 33.0, 21.0],
        [300.0, 10.0, 340.0, 50.0],
        [0.0, 0.0, 128.0, 96.0],
        [2.0, 1.0, 125.0, 112.0],
        [-60.0, -80.0, 200.0, 170.0],
    ],
    np.float32,
)


def pyramid():
    """Three levels (rows, columns, 3), float32, with strides 4, 8 and 16."""
    rng = np.random.RandomState(0)
    sizes = [(IMAGE[0] // s, IMAGE[1] // s) for s in (4, 8, 16)]
    return tuple(rng.standard_normal((*size, 3)).astype(np.float32) for size in sizes)


def main():
    import torch
    from torchvision.ops import MultiScaleRoIAlign

    levels = {str(i): torch.from_numpy(f).permute(2, 0, 1)[None] for i, f in enumerate(pyramid())}
    align = MultiScaleRoIAlign(list(levels), 7, 2)
    found = align(levels, [torch.from_numpy(BOXES)], [IMAGE]).permute(0, 2, 3, 1)
    ANSWERS.write_text(json.dumps(found.reshape(-1)[::11].tolist()) + "\n")


if __name__ == "__main__":
    main()

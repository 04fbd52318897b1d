"""Person or not, by a small CNN: INRIA's crops of 128x64.

jaxdl train --config configs/pedestrians_cnn.py --workdir runs/pedestrians_cnn

Dalal and Triggs (2005) miss about 10 % at one false alarm in 10,000 windows, by HOG and a linear
SVM; the 160 backgrounds of this test split cannot show so small a rate.
`experiments/pedestrians.py` has such an SVM on the same images.
"""

from jaxdl.configs.pedestrians_logistic import get_config as logistic
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Three convolutions, the first in steps of four pixels, and a dense layer."""
    config = logistic()
    config.data.augment = (dict(name="random_flip"), dict(name="random_crop", padding=4))
    config.model = dict(
        name="mnist_cnn",
        outputs=2,
        widths=(16, 32, 64),
        kernels=(7, 3, 3),
        strides=(4, 2, 2),
        dense=64,
        dropout=0.5,
        momentum=0.95,
    )
    config.optimizer = dict(
        name="adamw",
        learning_rate=dict(name="cosine", peak=3e-3, warmup=dict(epochs=1)),
        weight_decay=0.05,
    )
    return config

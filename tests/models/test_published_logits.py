"""With the same weights, our networks answer as torchvision's."""

import functools
import json

import jax
import numpy as np
import pytest
from published_logits import ANSWERS, CASES, images, summary, tensor

from jaxdl.checkpointing.weight_names import from_torch, to_torch
from jaxdl.models import VGG, AlexNet, GoogLeNet, ResNet, functional

NETWORKS = {
    "alexnet": AlexNet(),
    "vgg11": VGG(depth=11),
    "vgg11_bn": VGG(depth=11, batch_norm=True),
    "googlenet": GoogLeNet(batch_norm=True, dropout=0, auxiliary_dropout=0),
    "resnet18": ResNet(depth=18),
    "resnet50": ResNet(depth=50),
}


# GoogLeNet as in training, for its auxiliary heads; batch norm by the batch is then tested too.
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "vgg11" else n for n in NETWORKS],
)
def test_logits(name):
    (size, gain), model = CASES[name], functional(NETWORKS[name])
    x = images(size)
    empty = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(model.init, jax.random.key(0), (x,)),
    )
    tensors = {key: tensor(key, t.shape, gain) for key, t in to_torch(*empty).items()}
    apply = jax.jit(functools.partial(model.apply, key=None, train=name == "googlenet"))
    logits, _ = apply(*from_torch(tensors, *empty), (x,))
    expected, found = json.loads(ANSWERS.read_text())[name], summary(np.asarray(logits))
    np.testing.assert_allclose(found["first"], expected["first"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found["norm"], expected["norm"], rtol=1e-5)

"""Detectors: torchvision's numbers with the same weights, and what their arguments do."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import layers, made, paths
from published_levels import ANSWERS, CLASSES, GAIN, network, pictures, summary, weights

from jaxdl.checkpointing.weight_names import flat, from_torch, renamed, to_torch
from jaxdl.errors import UserError
from jaxdl.models import Detector, functional
from jaxdl.models.detector import FCOSHead, FeaturePyramid, RetinaNetHead

SMALL = dict(classes=3, depth=18, width=8, channels=16, convolutions=1)


def shapes(model, size=64):
    """Of what it says of two images, and of its model_state."""
    init, apply = functional(model)[:2]
    x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    state = jax.eval_shape(init, jax.random.key(0), (x,))
    return jax.eval_shape(lambda p, v, x: apply(p, v, (x,), None, False)[0], *state, x), state


def strides(levels):
    """Pixels between the first two places of each level, and how many anchors share a place."""
    for level in levels:
        places = np.asarray(level.anchors).reshape(-1, 2, 2).mean(1)
        _, counts = np.unique(places, axis=0, return_counts=True)
        yield float(np.diff(np.unique(places[:, 0]))[0]), int(counts[0])


@pytest.mark.parametrize(("head", "count"), [("fcos", 32_269_600), ("retinanet", 34_014_999)])
def test_published_sizes(head, count):
    params = flat(made(Detector(91, head), 64)[0]["params"], {})
    norms = sum(x.size for path, x in params.items() if "/body/" in path and x.ndim == 1)
    assert sum(x.size for x in params.values()) - norms == count and norms == 53_120


@pytest.mark.parametrize("head", GAIN)
def test_torchvisions_levels(head):
    model, x = functional(Detector(CLASSES, head, depth=18)), pictures()
    empty = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(model.init, jax.random.key(0), (x,)),
    )
    tensors = weights(head, {name: t.shape for name, t in to_torch(*empty).items()})
    apply = jax.jit(functools.partial(model.apply, key=None, train=False))
    levels, _ = apply(*from_torch(tensors, *empty), (x,))
    expected = json.loads(ANSWERS.read_text())[head]
    assert len(levels) == len(expected) == 5
    for level, parts in zip(levels, expected, strict=True):
        found = summary([None if part is None else np.asarray(part) for part in level])
        assert found.keys() == parts.keys()
        for name, part in parts.items():
            scale = np.abs(part["some"]).max()
            np.testing.assert_allclose(found[name]["some"], part["some"], rtol=0, atol=1e-4 * scale)
            np.testing.assert_allclose(found[name]["norm"], part["norm"], rtol=1e-5)
        np.testing.assert_array_equal(found["anchors"]["some"], parts["anchors"]["some"])


@pytest.mark.parametrize("head", GAIN)
def test_torchvisions_names_and_shapes(head):
    torch = pytest.importorskip("torch")
    try:
        with torch.device("meta"):
            net = network(head)
    except (ImportError, RuntimeError) as error:  # torchvision is absent, or not of this PyTorch
        pytest.skip(f"torchvision: {error}")
    ours = flat(*shapes(Detector(CLASSES, head, depth=18))[1])
    empty = {k: np.broadcast_to(np.float32(0), v.shape) for k, v in net.state_dict().items()}
    theirs = {path: array.shape for path, array in renamed(empty, ours).items()}
    assert theirs == {path: leaf.shape for path, leaf in ours.items()}


def test_names_of_old_weight_files():
    ours = flat(*shapes(Detector(head="retinanet", **SMALL))[1])
    old = [
        "backbone.fpn.inner_blocks.2.weight",
        "backbone.fpn.layer_blocks.0.bias",
        "head.classification_head.conv.0.weight",
        "head.regression_head.cls_logits.weight",
    ]
    assert list(renamed({name: np.zeros((1, 1, 1, 1)) for name in old}, ours)) == [
        "backbone/fpn/inner_blocks/2/0/kernel",
        "backbone/fpn/layer_blocks/0/0/bias",
        "head/classification_head/conv/0/0/kernel",
        "head/regression_head/cls_logits/weight",  # is none
    ]
    third = flat(*shapes(Detector(head="retinanet", **SMALL | {"convolutions": 3}))[1])
    name = "head.regression_head.conv.4.bias"
    assert list(renamed({name: np.zeros(16)}, third)) == ["head/regression_head/conv/2/0/bias"]
    # Of FCOS, whose group norms have places in between, the same name is of another layer.
    fcos = flat(*shapes(Detector(**SMALL | {"convolutions": 2}))[1])
    assert list(renamed({name: np.zeros(16)}, fcos)) == ["head/regression_head/conv/4/bias"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [8, 16, 32, 64, 128]),
        ({"levels": (3, 5)}, [8, 16, 32]),
        ({"levels": (2, 4), "head": "retinanet"}, [4, 8, 16]),
        ({"levels": (3, 6), "pool": False}, [4, 8, 16, 32]),
        ({"levels": (5, 5)}, [32]),
    ],
)
def test_levels(options, expected):
    model = Detector(**SMALL | options)
    levels, _ = shapes(model, 256)
    anchors = 9 if options.get("head") == "retinanet" else 1
    for level, stride in zip(levels, expected, strict=True):
        n = (256 // stride) ** 2 * anchors
        assert level.logits.shape == (2, n, 3) and level.deltas.shape == (2, n, 4)
        assert level.anchors.shape == (n, 4)
        assert (None if level.quality is None else level.quality.shape) == (
            (2, n) if anchors == 1 else None
        )


def said(model, x):
    """Its levels, with weights that are drawn."""
    return jax.jit(model.apply)(drawn(model, x), x)


def drawn(model, x):
    """Weights, all above 0."""
    rng = np.random.default_rng(0)
    empty = jax.eval_shape(lambda: model.init(jax.random.key(0), x))
    return jax.tree.map(
        lambda leaf: jnp.asarray(np.abs(rng.normal(size=leaf.shape, scale=0.2)), leaf.dtype), empty
    )


def test_any_image_size():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 37, 1, 3)), jnp.float32)
    levels = said(Detector(**SMALL | {"levels": (3, 7)}), x)
    assert [len(level.anchors) for level in levels] == [5, 3, 2, 1, 1]
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(levels))


def test_anchors_are_at_their_places():
    x = jnp.zeros((1, 64, 96, 3))
    fcos = said(Detector(**SMALL | {"levels": (3, 4)}), x)
    np.testing.assert_array_equal(fcos[0].anchors[0], [-4, -4, 4, 4])
    np.testing.assert_array_equal(fcos[0].anchors[12 + 2], [12, 4, 20, 12])  # row 1, column 2
    np.testing.assert_array_equal(fcos[1].anchors[1], [8, -8, 24, 8])
    retina = said(Detector(**SMALL | {"levels": (3, 4), "head": "retinanet"}), x)
    np.testing.assert_array_equal(retina[0].anchors[0], [-23, -11, 23, 11])
    np.testing.assert_array_equal(retina[0].anchors[9 + 3], [-8, -16, 24, 16])
    assert list(strides(fcos)) == [(8, 1), (16, 1)]
    assert list(strides(retina)) == [(8, 9), (16, 9)]


@pytest.mark.parametrize("head", [FCOSHead, RetinaNetHead])
def test_every_parameter_learns(head):
    rng = np.random.default_rng(0)
    stages = tuple(jnp.asarray(rng.normal(size=(2, n, n, 24)), jnp.float32) for n in (16, 8))
    pyramid, head = FeaturePyramid(16, more=2), head(classes=3, convolutions=1)

    def say(params):
        return [head.apply(params[1], p)[:3] for p in pyramid.apply(params[0], stages)]

    def loss(params):
        return sum(jnp.sum(part**2) for part in jax.tree.leaves(say(params)))

    params = drawn(pyramid, stages), drawn(head, jnp.zeros((1, 1, 1, 16)))
    grads = jax.jit(jax.grad(loss))(params)
    for path, leaf in flat(grads, {}).items():
        assert jnp.isfinite(leaf).all() and jnp.abs(leaf).max() > 0, path


def test_training_follows_the_batches():
    model = Detector(**SMALL | {"levels": (2, 2)})
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)), jnp.float32)
    state = drawn(model, x)
    follow = jax.jit(lambda state: model.apply(state, x, train=True, mutable=["batch_stats"])[1])
    new = follow(state)["batch_stats"]
    for before, after in zip(*map(jax.tree.leaves, (state["batch_stats"], new)), strict=True):
        assert (before != after).any()


def test_start():
    head = FCOSHead(classes=3, convolutions=1)
    params = head.init(jax.random.key(0), jnp.zeros((1, 1, 1, 256)))["params"]
    tower = params["classification_head"]
    np.testing.assert_allclose(jax.nn.sigmoid(tower["cls_logits"]["bias"]), 0.01, rtol=1e-5)
    np.testing.assert_allclose(tower["cls_logits"]["kernel"].std(), 0.01, rtol=0.05)
    np.testing.assert_allclose(tower["conv"]["0"]["kernel"].std(), 0.01, rtol=0.05)
    assert not params["regression_head"]["bbox_reg"]["bias"].any()


def test_anchors_stay_exact_in_bfloat16():
    model = Detector(**SMALL)
    narrow = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), made(model, 64)[0]
    )
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.bfloat16)
    level = jax.eval_shape(model.apply, narrow, x)[0]
    assert level.logits.dtype == level.deltas.dtype == level.quality.dtype == jnp.bfloat16
    assert level.anchors.dtype == jnp.float32


def test_remat_renames_nothing():
    assert paths(Detector(**SMALL), 64) == paths(Detector(**SMALL, remat=True), 64)


def test_groups_are_of_eight_channels():
    found = layers(Detector(**SMALL | {"channels": 256}), 64)
    assert found["head/regression_head/bbox_ctrness"][0] == (3, 3, 256, 1)
    for channels, groups in ((256, 32), (512, 32), (64, 8), (16, 2), (4, 1)):
        model = Detector(**SMALL | {"channels": channels, "levels": (5, 5)})
        x = jnp.zeros((1, 32, 32, 3))
        program = jax.make_jaxpr(lambda s, m=model, x=x: m.apply(s, x))(made(model, 32)[0])
        assert f"1,1,1,{groups},{channels // groups}]" in str(program).replace(" ", "")
        assert math.gcd(channels, groups) == groups


def test_features_of_the_pyramid():
    model, x = functional(Detector(**SMALL)), jnp.zeros((1, 64, 64, 3))
    state = shapes(Detector(**SMALL))[1]
    names = ["backbone/fpn", "backbone/body/layer2", "backbone/fpn/extra_blocks/p6"]
    found = jax.eval_shape(lambda p, v: model.features(p, v, (x,), names), *state)
    assert [leaf.shape[1:] for leaf in found["backbone/fpn"]] == [
        (8, 8, 16), (4, 4, 16), (2, 2, 16), (1, 1, 16), (1, 1, 16)
    ]  # fmt: skip
    assert found["backbone/body/layer2"].shape == (1, 8, 8, 16)
    assert found["backbone/fpn/extra_blocks/p6"].shape == (1, 1, 1, 16)


def test_wrong_arguments_are_refused():
    for levels in ((1, 5), (6, 7), (4, 3), (3, 8)):
        with pytest.raises(UserError, match=r"config\.model\.levels"):
            shapes(Detector(**SMALL | {"levels": levels}))
    with pytest.raises(UserError, match=r"config\.model\.name: a 'detector' has one stage"):
        jax.eval_shape(Detector(**SMALL).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)), 1)

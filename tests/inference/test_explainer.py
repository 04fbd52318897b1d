"""What an `Explainer` tells of a network: against arithmetic by hand, and against brute force."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.inference.explain import Explainer
from jaxdl.inference.predictor import Predictor
from jaxdl.inference.restored import RestoredRun
from jaxdl.kernels import max_pool
from jaxdl.models import AlexNet, CifarResNet, functional
from jaxdl.models.layers import Conv
from jaxdl.tasks import Classification
from jaxdl.training.precision import Precision
from jaxdl.training.state import State
from jaxdl.training.transforming import Transforms
from jaxdl.transforms import TRANSFORMS

SCALE = TRANSFORMS["scale"]()


def explainer(module, shape, classes=3, transform=SCALE, **settings):
    """Of a network that has not been trained, without a run's directory."""
    model, task = functional(module), Classification(classes)
    key = jax.random.key(0)
    inputs = transform({"image": jnp.zeros((1, *shape), jnp.uint8)}, key)["image"]
    params, model_state = jax.jit(model.init)(key, (inputs,))
    run = object.__new__(RestoredRun)
    run.__dict__.update(
        directory=SimpleNamespace(folder="runs/net"), config={"model": {"name": "net"}},
        columns={"image": {"dtype": "uint8", "shape": list(shape)}}, classes=(), vocabularies={},
        features=(), tokenize={}, clips=None, crop=None, fit="crop", task=task, model=model,
        eval_model=model, transforms=Transforms(transform, transform, transform, False, False),
        precision=Precision(),
        state=State(step=jnp.zeros((), jnp.int32), seed=jnp.zeros((), jnp.uint32), params=params,
                    model_state=model_state, opt_state=None),
        **settings,
    )  # fmt: skip
    return Explainer(run, Predictor(run))


def pictures(count, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


# ---- Receptive fields


class Windows(nn.Module):
    """Convolutions and poolings: (what, kernel, stride, padding, dilation) each."""

    layers: tuple

    @nn.compact
    def __call__(self, x):
        for i, (what, size, stride, padding, dilation) in enumerate(self.layers):
            conv = Conv(4, (size, size), stride, padding, kernel_dilation=dilation, name=f"c{i}")
            if what == "conv":
                x = nn.relu(conv(x))
            elif what == "average":
                x = nn.avg_pool(x, (size, size), (stride, stride), [(padding, padding)] * 2)
            else:
                x = max_pool(x, size, stride, padding)
        x = nn.Conv(2, (1, 1), name="last")(x)
        return nn.Dense(3, name="head")(x.mean(axis=(1, 2)))


def by_arithmetic(layers, length):
    """First line and the one after the last that each output sees, through all windows."""
    spans = [(i, i + 1) for i in range(length)]
    for _, kernel, stride, padding, dilation in layers:
        reach = dilation * (kernel - 1)
        starts = range(-padding, len(spans) + padding - reach, stride)
        ends = [(max(0, start), min(len(spans) - 1, start + reach)) for start in starts]
        spans = [(spans[first][0], spans[last][1]) for first, last in ends]
    return np.array(spans)


ALEXNET = (("conv", 11, 4, 2, 1), ("max", 3, 2, 0, 1), ("conv", 5, 1, 2, 1), ("max", 3, 2, 0, 1),
           ("conv", 3, 1, 1, 1), ("conv", 3, 1, 1, 1), ("conv", 3, 1, 1, 1))  # fmt: skip


def test_what_a_unit_sees_is_what_arithmetic_says():
    layers = (*ALEXNET, ("average", 3, 2, 1, 1), ("conv", 2, 1, 0, 2))
    net = explainer(Windows(layers), (227, 134, 1))
    convolutions = [i for i, layer in enumerate(layers) if layer[0] == "conv"]
    fields = net.receptive_fields([*(f"c{i}" for i in convolutions), "head"])
    for i in convolutions:
        for seen, length in zip(fields[f"c{i}"], (227, 134), strict=True):
            np.testing.assert_array_equal(seen, by_arithmetic(layers[: i + 1], length))
    published = [11, 51, 99, 131, 163]
    assert [fields[f"c{i}"].size[0] for i in convolutions[:5]] == published
    assert fields["head"].size == (227, 134)


@pytest.mark.slow  # arithmetic in full
def test_alexnets_units_see_11_51_99_131_and_163_pixels():
    # High enough for the last not to meet a border; narrow, to be quick.
    net = explainer(AlexNet(outputs=3, hidden=4), (195, 63, 3))
    names = [f"features/{i}" for i in (0, 3, 6, 8, 10)]
    assert [*net.kernels] == names and net.last_layer == "features/10"
    fields = net.receptive_fields(names)
    assert [fields[name].size[0] for name in names] == [11, 51, 99, 131, 163]
    assert {fields[name].size[1] for name in names[2:]} == {63}


@pytest.mark.slow  # compiles for seconds
def test_what_residual_blocks_see():
    net = explainer(CifarResNet(depth=8, outputs=3), (32, 9, 3))
    names = ["layer1", "layer2", "layer3"]
    fields = net.receptive_fields(names)
    assert [fields[name].size[0] for name in names] == [7, 13, 25]
    assert net.last_layer == "layer3"


class Blind(nn.Module):
    """Looks away."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(2, (3, 3), name="conv")(x)
        x = nn.Conv(2, (1, 1), name="after")(0 * jnp.where(x > 0, x, 0))
        return nn.Dense(3)(x.mean(axis=(1, 2)))


def test_a_layer_that_sees_nothing_is_refused(refuses):
    net = explainer(Blind(), (6, 6, 1))
    assert net.receptive_field("conv").size == (3, 3)
    with refuses("layer after", "depend on no pixel"):
        net.receptive_field("after")


# ---- Maps


class Rectified(nn.Module):
    """A convolution and its ReLU as one layer."""

    @nn.compact
    def __call__(self, x):
        return nn.relu(Conv(5, (3, 3), 2)(x))


class Pooled(nn.Module):
    """Classes by the mean over positions, so that Grad-CAM can be written down."""

    outputs: int | None = 3

    @nn.compact
    def __call__(self, x):
        x = Rectified(name="block")(x).mean(axis=(1, 2))
        x = nn.Dense(self.outputs or 1, name="head")(x)
        return x if self.outputs else x[:, 0]


@pytest.mark.parametrize("chosen", [None, "2"])
def test_grad_cam_is_the_weighted_sum_of_the_definition(chosen):
    net, images = explainer(Pooled(), (8, 10, 3)), pictures(5, (8, 10, 3))
    run = net._run
    a = run.model.features(run.state.params, {}, (images / np.float32(255),), ["block"])["block"]
    logits = run.model.apply(run.state.params, {}, (images / np.float32(255),), None, False)[0]
    classes = np.argmax(logits, axis=1) if chosen is None else np.full(5, 2)
    weights = np.asarray(run.state.params["head"]["kernel"])[:, classes].T / (4 * 5)
    expected = np.maximum(np.einsum("nk,nijk->nij", weights, a), 0)
    maps = net.maps(images, name=chosen)
    np.testing.assert_allclose(maps.grad_cam, expected, atol=1e-6)
    assert maps.grad_cam.max() > 0 and maps.layer == "block"
    np.testing.assert_array_equal(maps.classes, classes)
    shares = np.asarray(jax.nn.softmax(logits))[np.arange(5), classes]
    np.testing.assert_allclose(maps.probabilities, shares, rtol=1e-5)
    np.testing.assert_array_equal(maps.images, images)


@pytest.mark.slow  # compiles for seconds
def test_of_two_classes_with_one_logit_each_has_its_own_map():
    net, images = explainer(Pooled(None), (8, 8, 1), classes=2), pictures(3, (8, 8, 1))
    run = net._run
    a = run.model.features(run.state.params, {}, (images / np.float32(255),), ["block"])["block"]
    evidence = np.einsum("k,nijk->nij", run.state.params["head"]["kernel"][:, 0], a) / 16
    for name, sign in (("1", 1), ("0", -1)):
        found = net.maps(images, name=name).grad_cam
        np.testing.assert_allclose(found, np.maximum(sign * evidence, 0), atol=1e-6)


class Linear(nn.Module):
    """No bend, so that a gradient is a difference."""

    @nn.compact
    def __call__(self, x):
        x = Conv(3, (3, 3), name="conv")(x)
        return nn.Dense(3)(x.reshape(len(x), -1))


def test_saliency_is_what_the_logit_gains_by_a_pixel():
    net = explainer(Linear(), (4, 5, 3))
    lit = np.eye(60, dtype=np.float32).reshape(60, 4, 5, 3)
    params, model = net._run.state.params, net._run.model
    black, each = (model.apply(params, {}, (x,), None, False)[0] for x in (lit[:1] * 0, lit))
    expected = np.abs(each[:, 1] - black[:, 1]).reshape(4, 5, 3).max(axis=-1)
    found = net.maps(pictures(2, (4, 5, 3)), name="1").saliency
    np.testing.assert_allclose(found, np.stack([expected] * 2), atol=1e-5)


# ---- What excites units


def test_the_strongest_are_those_of_brute_force():
    shape, layers = (12, 10, 2), (("conv", 3, 2, 1, 1), ("conv", 3, 1, 1, 1))
    net, images = explainer(Windows(layers), shape), pictures(70, shape)
    images[40] = images[7]  # of equals the first
    found = net.strongest(images, "last", units=[1, 0], top=6)
    a = np.asarray(net._predictor.features(images, ["last"])["last"])
    rows, columns = (by_arithmetic(layers, length) for length in shape[:2])
    assert found.units.tolist() == [1, 0] and found.size == (7, 7)
    for unit, values, examples, boxes in zip(*found[:4], strict=True):
        best = a[..., unit].max(axis=(1, 2))
        order = np.argsort(-best, kind="stable")[:6]
        np.testing.assert_array_equal(examples, order)
        np.testing.assert_allclose(values, best[order], rtol=1e-5)
        for example, (top, left, bottom, right) in zip(examples, boxes, strict=True):
            i, j = np.unravel_index(np.argmax(a[example, ..., unit]), a.shape[1:3])
            assert ([top, bottom], [left, right]) == (rows[i].tolist(), columns[j].tolist())
    np.testing.assert_array_equal(net.images(images, found.rows[0]), images[found.rows[0]])
    everyone = net.strongest(images[:4], "last")
    assert everyone.values.shape == (2, 4)  # there are no nine
    most = everyone.most_active(1)
    assert most.units == [np.argmax(everyone.values.mean(axis=1))]


def test_what_has_diverged_excites_nothing(refuses):
    net = explainer(Pooled(), (8, 8, 1))
    net._run.state.params["block"]["Conv_0"]["bias"] += np.nan
    with refuses("layer block", "not finite"):
        net.strongest(pictures(2, (8, 8, 1)), "block")


def test_other_shapes_than_the_image_s_have_no_pixels_to_tell(refuses):
    net = explainer(nn.Dense(3), (4, 4, 1), transform=TRANSFORMS["flatten"]())
    assert net.layers == {}
    with refuses("net", "no convolution"):
        net.maps(pictures(1, (4, 4, 1)))

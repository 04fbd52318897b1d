"""Weights of PyTorch in our trees: the same names, the same numbers, the same logits."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxdl.checkpointing.weight_names import fill, flat, from_torch, renamed, to_torch, torch_name
from jaxdl.errors import UserError
from jaxdl.models import VGG, AlexNet, CifarResNet, GoogLeNet, ResNet, functional

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64, 3)), jnp.float32)


def other(tree, seed=1):
    """A tree of these shapes and types, with numbers above 0."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.uniform(0.5, 1, x.shape).astype(x.dtype), tree)


@pytest.fixture(scope="module")
def small():
    """Of a small residual network: (params, model_state)."""
    init = functional(CifarResNet(depth=8, shortcut="B")).init
    return other(jax.eval_shape(init, jax.random.key(0), (IMAGES,)), seed=0)


@pytest.fixture(scope="module")
def torchvision():
    """PyTorch's models; without them some tests are skipped."""
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:  # absent, or not of this PyTorch
        pytest.skip(f"torchvision: {error}")
    return torchvision


def test_kernels_under_our_own_names_keep_their_axes(small):
    params, model_state = small
    ours = flat(params, model_state)  # as `jaxdl export` writes them, square ones among them
    filled = fill(renamed(ours, ours), *other((params, model_state), seed=2))
    assert not filled.fresh and not filled.unused
    jax.tree.map(np.testing.assert_array_equal, (filled.params, filled.model_state), small)
    dotted = {path.replace("/", "."): array for path, array in ours.items()}  # Flax's, joined so
    kernels = {path: array for path, array in renamed(dotted, ours).items() if "kernel" in path}
    assert kernels
    for path, array in kernels.items():
        np.testing.assert_array_equal(array, ours[path])
    with pytest.raises(
        UserError, match="another of its arrays both stand for conv1/kernel; exclude one"
    ):
        renamed({**ours, "conv1.weight": ours["conv1/kernel"]}, ours)


def test_one_rule_names_everything():
    assert torch_name("layer1/0/conv1/kernel") == "layer1.0.conv1.weight"
    assert torch_name("bn1/scale") == "bn1.weight" and torch_name("bn1/bias") == "bn1.bias"
    assert (
        torch_name("bn1/mean") == "bn1.running_mean" and torch_name("bn1/var") == "bn1.running_var"
    )
    assert torch_name("words/embedding") == "words.weight"


def test_there_and_back(small):
    params, model_state = small
    params, model_state = other(params), other(model_state, 2)
    tensors = to_torch(params, model_state)
    assert tensors["conv1.weight"].shape == (16, 3, 3, 3)
    assert tensors["layer2.0.downsample.0.weight"].shape == (32, 16, 1, 1)
    np.testing.assert_array_equal(tensors["fc.weight"], params["fc"]["kernel"].T)
    kernel = params["layer2"]["0"]["conv1"]["kernel"]
    assert tensors["layer2.0.conv1.weight"][5, 3, 2, 1] == kernel[2, 1, 3, 5]
    np.testing.assert_array_equal(
        tensors["bn1.running_var"], model_state["batch_stats"]["bn1"]["var"]
    )
    tensors["bn1.num_batches_tracked"] = np.array(3)
    back = from_torch(tensors, *small)
    jax.tree.map(np.testing.assert_array_equal, back, (params, model_state))
    assert jax.tree.structure(back) == jax.tree.structure((params, model_state))


SAME = {
    "alexnet": AlexNet(),
    "googlenet": GoogLeNet(batch_norm=True),
    "resnet18": ResNet(depth=18),
    "resnet50": ResNet(depth=50),
    "vgg11_bn": VGG(depth=11, batch_norm=True),
    "vgg19": VGG(depth=19),
}


@pytest.mark.parametrize("name", SAME)
def test_torchvisions_names_and_shapes(torchvision, name):
    import torch

    with torch.device("meta"):
        options = {"init_weights": False} if name == "googlenet" else {}
        net = getattr(torchvision.models, name)(**options)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    ours = flat(*jax.eval_shape(functional(SAME[name]).init, jax.random.key(0), (image,)))
    empty = {k: np.broadcast_to(np.float32(0), v.shape) for k, v in net.state_dict().items()}
    theirs = {path: array.shape for path, array in renamed(empty, ours).items()}
    assert theirs == {path: leaf.shape for path, leaf in ours.items()}


def test_torchvisions_logits(torchvision):
    import torch

    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=7)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(torch.rand(tensor.shape) + 0.5).add_(0.01)
        expected = net.eval()(torch.from_numpy(np.array(IMAGES)).permute(0, 3, 1, 2)).numpy()
    model = functional(ResNet(7, 18))
    shapes = jax.eval_shape(model.init, jax.random.key(0), (IMAGES,))
    params, model_state = from_torch({k: v.numpy() for k, v in net.state_dict().items()}, *shapes)
    logits, _ = jax.jit(lambda p, v: model.apply(p, v, (IMAGES,), None, False))(params, model_state)
    np.testing.assert_allclose(logits, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def test_types_are_those_of_the_model(small):
    params, model_state = small
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    tensors = {k: v.astype(np.float64) for k, v in to_torch(params, model_state).items()}
    filled, kept = from_torch(tensors, half, model_state)
    assert {x.dtype for x in jax.tree.leaves(filled)} == {np.dtype(ml_dtypes.bfloat16)}
    assert {x.dtype for x in jax.tree.leaves(kept)} == {np.dtype(np.float32)}


def test_a_new_head_stays_fresh(small):
    params, model_state = small
    arrays = flat(other(params), other(model_state))
    head = {**params, "fc": {"kernel": jnp.zeros((64, 3)), "bias": jnp.zeros(3)}}
    filled = fill(arrays, head, model_state, exclude=("^fc/",))
    assert filled.params["fc"] == head["fc"] and len(filled.loaded) == len(arrays) - 2
    total = len(arrays) - 2
    assert str(filled) == f"{total} loaded, 2 fresh (fc/bias, fc/kernel), 2 unused"
    np.testing.assert_array_equal(filled.params["conv1"]["kernel"], arrays["conv1/kernel"])


def test_without_strictness_what_fits_is_taken(small):
    params, model_state = small
    arrays = {"conv1/kernel": np.ones((3, 3, 3, 16)), "aux/kernel": np.ones((2, 2))}
    filled = fill(arrays, params, model_state, strict=False)
    assert list(filled.loaded) == ["conv1/kernel"] and list(filled.unused) == ["aux/kernel"]


def changed(**arrays):
    """The change of a dict of arrays; None takes one away."""

    def change(found):
        found |= {k.replace("__", "/"): v for k, v in arrays.items()}
        return {k: v for k, v in found.items() if v is not None}

    return change


WRONG = {
    "missing": (changed(fc__bias=None), {}, "1 missing: fc/bias; list what should start fresh"),
    "missing statistics": (changed(bn1__mean=None), {}, "1 missing: bn1/mean"),
    "unknown": (changed(aux__bias=np.ones(3)), {}, "1 unknown: aux/bias"),
    "both": (
        changed(aux__bias=np.ones(3), fc__bias=None), {}, "1 missing: fc/bias; 1 unknown: aux/bias",
    ),
    "another shape": (
        changed(fc__kernel=np.ones((64, 1000))), {},
        "1 different: fc/kernel (float64[64, 1000], here float32[64, 10])",
    ),
    "another shape still": (
        changed(fc__bias=np.ones(3)), {"strict": False}, "1 different: fc/bias",
    ),
    "another kind": (changed(fc__bias=np.ones(10, int)), {}, "fc/bias (int64[10], here float32"),
    "nan": (changed(fc__bias=np.full(10, np.nan)), {}, "fc/bias has numbers that are not finite"),
    "too large": (changed(fc__bias=np.full(10, 1e300)), {}, "not finite in float32"),
    "idle": (changed(), {"exclude": ("^head/",)}, "'^head/' matches none of bn1/bias"),
    "all": (changed(), {"exclude": (".",)}, "none of its arrays belongs to config.model"),
    "nothing": (lambda found: {}, {"strict": False}, "none of its arrays belongs"),
    "empty": (lambda found: {}, {}, "47 missing: bn1/bias, bn1/scale, conv1/kernel, fc/bias, and"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("fault", WRONG)
def test_what_does_not_fit(small, fault):
    params, model_state = small
    change, options, told = WRONG[fault]
    with pytest.raises(UserError) as refused:
        fill(change(flat(params, model_state)), params, model_state, **options)
    assert told in str(refused.value) and "\n" not in str(refused.value), refused.value

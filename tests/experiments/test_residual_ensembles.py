"""Networks taken apart block by block, held against the same computed by hand."""

import functools
import itertools
import math
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdl
from jaxdl.cli.main import main
from jaxdl.models import CifarResNet, functional
from jaxdl.models.resnet import Block
from jaxdl.training.step import forward
from jaxdl.training.transforming import Transforms
from jaxdl.transforms.basic import scale

WIDTHS = {"layer1/0": (16, 1), "layer2/0": (32, 2), "layer3/0": (64, 2)}  # and strides


@pytest.fixture(scope="module")
def study(root):
    """The study as a module; its neighbour is found as when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "experiments"))
        import residual_ensembles

        yield residual_ensembles


def untrained(study, residual, depth=8):
    """A network whose norms have statistics of their own, with 12 images; deep ones have shapes."""
    rng = np.random.default_rng(0)
    model = functional(CifarResNet(depth=depth, residual=residual))
    images = rng.integers(0, 256, (12, 8, 8, 3), np.uint8)
    table = jaxdl.Table({"image": images, "label": rng.integers(0, 10, 12)})
    transform = scale()
    initial = jax.eval_shape(model.init, jax.random.key(0), (jnp.zeros((1, 8, 8, 3)),))
    if depth == 8:
        initial = jax.tree.map(
            lambda x: jnp.float32(
                rng.normal(0, 0.3, x.shape) if x.ndim > 1 else rng.uniform(0.3, 1, x.shape)
            ),
            initial,
        )
    params, state = initial
    run = types.SimpleNamespace(
        model=model,
        eval_model=model,
        task=jaxdl.Classification(10),
        precision=jaxdl.Precision(),
        transforms=Transforms(transform, transform, transform, False, False),
        config={"model": {"name": "cifar_resnet"}},
        training=types.SimpleNamespace(eval_batch_size=4),
        directory=types.SimpleNamespace(folder=Path("runs/tiny")),
        state=jaxdl.State(jnp.int32(0), np.uint32(0), params, state, None),
    )
    blocks = study.find_blocks(run, table[np.arange(1)], residual)
    return study.Subject(run, {"train": table, "test": table}, blocks, residual)


@pytest.fixture(scope="module")
def resnet(study):
    return untrained(study, residual=True)


@pytest.fixture(scope="module")
def plain(study):
    return untrained(study, residual=False)


def batch_of(subject, size=4):
    return jax.tree.map(jnp.asarray, subject.splits["test"][np.arange(size)])


@pytest.fixture(scope="module")
def with_switches(study, resnet, plain):
    """Logits of a batch without some blocks."""

    @functools.cache
    def program(residual):
        subject = subjects[residual]

        def logits(keep):
            with study.switched(keep, {}):
                return study.outputs(subject.run, subject.run.state, batch_of(subject))

        return jax.jit(logits)

    subjects = {True: resnet, False: plain}

    def logits(subject, without):
        keep = {name: jnp.bool_(i not in without) for i, name in enumerate(WIDTHS)}
        return program(subject.residual)(keep)

    return logits


def by_hand(subject, without, residual, batch=None):
    """The same from single blocks, and what stands in place of a deleted one."""
    run, names = subject.run, subject.blocks.names
    params, stats = run.state.params, run.state.model_state["batch_stats"]
    images = run.transforms.always(batch or batch_of(subject), jax.random.key(0))["image"]
    x = run.model.features(params, run.state.model_state, (images,), ("bn1",))["bn1"]
    for i, name in enumerate(names):
        width, stride = WIDTHS[name]
        if i in without:
            more = ((0, 0), (0, 0), (0, 0), (0, width - x.shape[-1]))
            x = jnp.maximum(jnp.pad(x[:, ::stride, ::stride], more), 0)
        else:
            stage, place = name.split("/")
            block = Block(width, stride, shortcut="A" if residual else None)
            parts = {"params": params[stage][place], "batch_stats": stats[stage][place]}
            x = block.apply(parts, x, False)
    return jnp.mean(x, (1, 2)) @ params["fc"]["kernel"] + params["fc"]["bias"]


@pytest.mark.parametrize("without", [(), (0,), (1,), (0, 2)])
def test_deleted_residual_blocks_leave_their_shortcut(with_switches, resnet, without):
    found, expected = with_switches(resnet, without), by_hand(resnet, without, True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    if without:
        assert np.abs(found - by_hand(resnet, (), True)).max() > 1e-2


def test_a_block_of_a_plain_net_becomes_the_identity_where_shapes_allow(with_switches, plain):
    assert plain.blocks.names == tuple(WIDTHS) and plain.blocks.deletable == (0,)
    found = with_switches(plain, (0,))
    np.testing.assert_allclose(found, by_hand(plain, (0,), False), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found, with_switches(plain, (0, 1, 2)))
    assert np.abs(found - with_switches(plain, ())).max() > 1e-2


def test_a_branch_whose_last_norm_is_zero_is_deleted(with_switches, resnet):
    run, params = resnet.run, resnet.run.state.params
    block = params["layer2"]["0"]
    block = {**block, "bn2": jax.tree.map(jnp.zeros_like, block["bn2"])}
    params = {**params, "layer2": {"0": block}}
    batch = run.transforms.always(batch_of(resnet), jax.random.key(0))
    logits = forward(run.model, run.task, run.precision, params, run.state, batch, None)[0]
    np.testing.assert_allclose(with_switches(resnet, (1,)), logits, rtol=1e-4, atol=1e-5)


def test_the_gradients_through_all_paths_add_up(resnet):
    run, state, batch = resnet.run, resnet.run.state, batch_of(resnet)
    gradient = jax.jit(resnet.make_gradient())
    total, norms = 0.0, []
    for branch in itertools.product((False, True), repeat=3):
        part = gradient(state, dict(zip(WIDTHS, map(jnp.bool_, branch), strict=True)), batch)
        total, norms = total + part["kernel"], [*norms, float(jnp.linalg.norm(part["kernel"]))]
    assert len({*norms}) == 8 and min(norms) > 0  # all paths count

    @jax.jit
    def whole(kernel):
        params = {**state.params, "conv1": {"kernel": kernel}}
        given = run.transforms.always(batch, jax.random.key(0))
        y = forward(run.model, run.task, run.precision, params, state, given, None)[0]
        return jnp.mean(run.task.loss(y, batch))

    expected = jax.grad(whole)(state.params["conv1"]["kernel"])
    close = 1e-4 * float(jnp.abs(expected).max())
    np.testing.assert_allclose(total, expected, rtol=1e-3, atol=close)


def test_errors_are_shares_of_the_images(study, resnet):
    error, test = resnet.make_error(), resnet.splits["test"]
    whole = batch_of(resnet, 12)
    for without in ((), (1, 2)):
        wrong = np.argmax(by_hand(resnet, without, True, whole), -1) != whole["label"]
        assert error(without) == pytest.approx(np.mean(wrong)) and len(test) == 12
    assert error(order=(0, 1, 2)) == error()


def test_orders_exchange_blocks_that_are_alike(study, resnet):
    rng, blocks = np.random.default_rng(0), untrained(study, residual=True, depth=14).blocks
    assert blocks.alike == ((0, 1),) and resnet.blocks.alike == ()
    assert study.orders(resnet.blocks, 2, rng) == [(0, 1, 2)]
    assert study.orders(blocks, 2, rng) == [(0, 1, 2, 3, 4, 5), (1, 0, 2, 3, 4, 5)]
    wide = study.Blocks(tuple("abcdef"), (0, 1), ((0, 1, 2), (4, 5)))
    assert len({*study.orders(wide, 12, rng)}) == 12
    drawn = study.orders(wide, 11, rng)
    assert len(drawn) == 11 and drawn[0] == (0, 1, 2, 3, 4, 5) and len({*drawn}) > 3
    assert all({*o[:3]} == {0, 1, 2} and o[3] == 3 and {*o[4:]} == {4, 5} for o in drawn)
    tree = {"a": {"0": 1, "1": 2}, "b": 3}
    assert study.reordered(tree, ("a/0", "a/1"), (1, 0)) == {"a": {"0": 2, "1": 1}, "b": 3}


def test_subsets_are_different_ones(study):
    blocks = study.Blocks(tuple("abcd"), (0, 1, 3), ())
    asked = []
    found = study.deletions(
        lambda without: asked.append(without) or 0.5, blocks, 2, np.random.default_rng(0)
    )
    assert {k: len(errors) for k, errors in found.items()} == {1: 2, 2: 2, 3: 1}
    assert len({*asked}) == 5 and asked[-1] == (0, 1, 3) and {*sum(asked, ())} == {0, 1, 3}


def test_paths_are_counted(study):
    paths, gradient = study.shares(np.ones((5, 3)))
    assert [*paths * 16] == [math.comb(4, k) for k in range(5)] and np.allclose(paths, gradient)
    decaying = 0.5 ** np.arange(5)[:, None]
    binomial = [math.comb(4, k) * (1 / 3) ** k * (2 / 3) ** (4 - k) for k in range(5)]
    np.testing.assert_allclose(study.shares(decaying)[1], binomial)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (
            {"residual": False},
            "runs/tiny: its network must be of residual blocks; cifar_resnet has some without",
        ),
        (
            {"residual": True},
            "its network must be of blocks without shortcuts; cifar_resnet has some with",
        ),
        ({"config": {"model": {"preactivation": True}}}, "blocks with preactivation or remat"),
    ],
)
def test_other_networks_are_refused(study, resnet, plain, refuses, kind, fault):
    subject = resnet if kind.get("residual", True) else plain
    run = types.SimpleNamespace(**{**vars(subject.run), **kind})
    with refuses(fault):
        study.find_blocks(run, batch_of(subject), not subject.residual)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["none"], "none: holds no run"),
        (["none", "--images", "0"], "--images: must be an integer of at least 1, got '0'"),
        (["none", "--draws", "x"], "--draws: must be an integer of at least 1, got 'x'"),
        ([], "required: resnet"),
    ],
)
def test_wrong_words_are_named(study, words, fault, capsys):
    with pytest.raises(SystemExit) as stop:
        study.command(words)
    assert stop.value.code == 2 and fault in capsys.readouterr().err


@pytest.mark.slow
def test_as_its_docstring_says(study, tmp_path, capsys):
    folders = [str(tmp_path / name) for name in ("resnet20", "plain20")]
    for name, folder in zip(("resnet20", "plain20"), folders, strict=True):
        main(["train", "--config", f"cifar10_{name}", "--workdir", folder,
              "--config.data.twin=true", "--config.model.depth=14", "--config.training.steps=2",
              "--config.figures=()"])  # fmt: skip
    test = study.other_splits(jaxdl.load(folders[0]).parts, ())["test"]
    accuracy = jaxdl.load(folders[0]).evaluate(test)["accuracy"]
    figure = tmp_path / "four.png"
    capsys.readouterr()
    study.command([*folders, "--draws", "1", "--figure", str(figure)])
    told = capsys.readouterr().out
    assert f"resnet20: error of all blocks {1 - accuracy:.4f}" in told
    assert told.count("300 test images, 1 draws, seed 0") == 2
    assert told.count("without layer") == 6 + 4
    assert "tau   1.0000" in told and "mean length of a path 3.00" in told
    assert figure.stat().st_size > 20_000

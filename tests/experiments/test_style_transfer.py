"""An image optimised by the framework's own step, towards the features of two others."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import save_file

import jaxdl
from jaxdl.checkpointing.weight_names import flat

CONFIG = """
from ml_collections import ConfigDict

def get_config():
    return ConfigDict(dict(
        data=dict(source="tfds", dataset="cifar10",
                  transforms=(dict(name="standardize", mean=127.5, std=127.5),)),
        model=dict(name="cifar_resnet", depth=8, outputs=10),
        task=dict(name="classification", classes=10),
        optimizer=dict(name="sgd", learning_rate=0.1),
        training=dict(batch_size=4, steps=1),
    ))
"""


@pytest.fixture(scope="module")
def study(root):
    """The study as a module; its neighbours are found as when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "experiments"))
        import style_transfer

        yield style_transfer


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "small.py"
    file.write_text(CONFIG)
    return str(file)


@pytest.fixture(scope="module")
def network(study, config):
    return study.of_config(config, None, 0)


@pytest.fixture(scope="module")
def task(study):
    return study.StyleTransfer(("layer1",), ("bn1", "layer1"), style_weight=2.0, smoothness=0.5)


def image(seed):
    return jax.random.uniform(jax.random.key(seed), (1, 12, 8, 3))


def test_correlations_of_channels_do_not_depend_on_the_size(study):
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    for example, found in zip(x, study.gram(jnp.asarray(x)), strict=True):
        columns = example.reshape(-1, 3)
        np.testing.assert_allclose(found, columns.T @ columns / 24, rtol=1e-5)
    larger = np.repeat(np.repeat(x, 2, 1), 2, 2)
    np.testing.assert_allclose(
        study.gram(jnp.asarray(larger)), study.gram(jnp.asarray(x)), rtol=1e-5
    )


def test_a_relative_error_is_0_of_equals_and_1_of_nothing(study):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3)), jnp.float32)
    np.testing.assert_allclose(study.relative(x, x), [0, 0])
    np.testing.assert_allclose(study.relative(0 * x, 3 * x), [1, 1], rtol=1e-6)
    np.testing.assert_allclose(study.relative(0 * x, 0 * x), [0, 0])


def test_a_step_moves_the_image_alone_and_as_computed_by_hand(study, network, task):
    start, content, style = image(0), image(1), image(2)
    names = ("layer1", "bn1")
    see = jax.jit(lambda x: network.features(network.variables, x, names))
    wanted, styled = see(content), see(style)
    batch = task.targets(wanted, styled)

    def objective(x):
        found = see(x)
        content = jnp.sum((found["layer1"] - wanted["layer1"]) ** 2) / jnp.sum(
            wanted["layer1"] ** 2
        )
        total = 0.0
        for name in names:
            a, g = study.gram(styled[name]), study.gram(found[name])
            total += jnp.sum((g - a) ** 2) / jnp.sum(a**2) / 2
        rough = jnp.mean((x[:, 1:] - x[:, :-1]) ** 2) + jnp.mean((x[:, :, 1:] - x[:, :, :-1]) ** 2)
        return content + 2 * total + 0.5 * rough

    loss, slope = jax.jit(jax.value_and_grad(objective))(start)
    model = study.image_model(network, names, start)
    state = jaxdl.init(model, task, optax.adam(0.02), batch)
    after, summary = jax.jit(study.make_step(model, task, 0.02))(state, batch)
    assert jnp.allclose(summary["loss"], loss, rtol=1e-5)
    assert summary["content"] + 2 * summary["style"] < loss
    updates, _ = optax.adam(0.02).update(slope, optax.adam(0.02).init(slope))
    moved = after.params["image"]
    assert {*state.params} == {"image"} and jnp.mean(jnp.abs(moved - start)) > 0.01
    np.testing.assert_allclose(moved, start + updates, atol=2e-3)
    same = jax.tree.map(jnp.array_equal, after.model_state["network"], network.variables)
    assert all(jax.tree.leaves(same))


def test_weights_of_a_file_are_the_networks(study, config, network, tmp_path):
    variables = jax.tree.map(lambda x: 2 * x, network.variables)

    def torchs(path, x):
        x = np.asarray(x)
        return np.ascontiguousarray(x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T)

    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    arrays = {}
    for path, x in flat(*variables).items():
        *modules, last = path.removeprefix("batch_stats/").split("/")
        arrays[".".join([*modules, names.get(last, last)])] = torchs(path, x)
    save_file(arrays, tmp_path / "weights.safetensors")
    found = study.of_config(config, str(tmp_path / "weights.safetensors"), 0)
    for a, b in zip(*map(jax.tree.leaves, (found.variables, variables)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_l_bfgs_lowers_the_objective_in_every_step(study, config, tmp_path, capsys):
    sheet, alone = tmp_path / "sheet.png", tmp_path / "alone.png"
    words = ["--config", config, "--untrained", "--size", "48", "--steps", "3"]
    words += ["--content-layer", "layer1", "--style-layer", "bn1"]
    study.command([*words, "--figure", str(sheet), "--image", str(alone)])
    *steps, what, content, style = capsys.readouterr().out.splitlines()
    losses = [float(line.split()[3]) for line in steps]
    assert len(losses) == 4 and all(b < a for a, b in itertools.pairwise(losses))
    assert what == "small, untrained, 48x32 pixels, 3 steps of lbfgs from content, seed 0"
    assert content.startswith("content  0.00000 -> ") and style.startswith("style ")
    assert sheet.stat().st_size > 10_000 and study.pixels.read(alone, 3).shape == (32, 48, 3)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "one of the arguments --workdir --config is required"),
        (["--workdir", "none"], "none: holds no run"),
        (["--config", "{config}"], "needs --weights FILE or --untrained, and --workdir neither"),
        (["--workdir", "x", "--untrained"], "needs --weights FILE or --untrained"),
        (["--workdir", "x", "--weights", "y", "--untrained"], "needs --weights FILE or"),
        (["--workdir", "x", "--rate", "0.1"], "--rate: above 0, and of Adam alone"),
        (["--config", "{config}", "--untrained", "--size", "40"], "40x27 pixels; a side must have"),
        (["--config", "{config}", "--untrained", "--size", "9999"], "a side must have 32 to 4096"),
        (["--config", "nothing", "--untrained"], "nothing"),
        (["--config", "{config}", "--weights", "none.pth"], "none.pth"),
        (["--config", "{config}", "--untrained", "--content", "none.jpg"], "none.jpg"),
        (["--config", "{config}", "--untrained", "--size", "48", "--style-layer", "layer9"],
         "no module 'layer9'"),
        (["--config", "{config}", "--untrained", "--size", "48", "--style-layer", "fc"],
         "fc has no positions"),
        (["--config", "imagenet_googlenet", "--weights", "x.pth", "--size", "0"],
         "--size: must be an integer of at least 1, got '0'"),
        (["--workdir", "x", "--figure", "sheet"], "--figure: must be a file of .jpg"),
        (["--workdir", "x", "--style-weight", "nan"], "must be a number of at least 0, got 'nan'"),
        (["--workdir", "x", "--seed", "-1"], "an integer from 0 to 2³² - 1, got '-1'"),
    ],
)  # fmt: skip
def test_wrong_words_are_named_in_one_line(study, config, words, fault, capsys):
    with pytest.raises(SystemExit) as stop:
        study.command([word.format(config=config) for word in words])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and fault in said.splitlines()[-1]

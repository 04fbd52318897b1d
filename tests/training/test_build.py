"""What a config becomes before anything is built: overrides by type, targets, and all defaults."""

import json
import logging

import jax
import numpy as np
import pytest

from jaxdl import config as cfg
from jaxdl.checkpointing.run_directory import Run
from jaxdl.configs import shipped
from jaxdl.data.loader import fetch
from jaxdl.errors import UserError
from jaxdl.named_code import FromRun
from jaxdl.training.build import build_experiment, read_config, resolved
from jaxdl.training.settings import Settings


def at(config, path):
    for key in path.split("."):
        config = config[key]
    return config


@pytest.fixture
def told(caplog):
    """Read a config with overrides: what it is, and the lines that were said."""

    def read(name, *overrides):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            config = read_config(name, overrides)
        return config, caplog.text

    return read


@pytest.mark.parametrize(
    ("name", "override", "value"),
    [
        ("mnist_cnn", "data.dataset=2024", "2024"),
        ("mnist_cnn", "data.train=None", "None"),  # its annotation has no None
        ("mnist_cnn", "data.test=None", None),
        ("mnist_cnn", "data.test=null", None),
        ("mnist_cnn", "data.test='None'", "None"),
        ("mnist_cnn", "data.train=train[:50]", "train[:50]"),
        ("mnist_cnn", "data.data_dir=1e3", "1e3"),
        ("mnist_cnn", "data.data_dir=true", "true"),
        ("mnist_cnn", "data.size=32", 32),
        ("mnist_cnn", "data.crop=dict(size=8)", {"size": 8, "area": (0.08, 1.0),
                                                 "ratio": (0.75, 4 / 3), "resize": None,
                                                 "views": 1}),
        ("mnist_cnn", "data.crop.size=8", 8),
        ("mnist_cnn", "target.metric=7", "7"),
        ("mnist_cnn", "init_from=7", "7"),
        ("mnist_cnn", "init_from.path=7", "7"),
        ("mnist_cnn", "training.best.metric=nan", "nan"),
        ("mnist_cnn", "training.best.smaller=true", True),
        ("mnist_cnn", "training.evaluate=('test',)", ("test",)),
        ("mnist_cnn", "placement=(('.*', 'fsdp'),)", ((".*", "fsdp"),)),
        ("mnist_cnn", "placement=fsdp", "fsdp"),
        ("mnist_cnn", "optimizer.decay_only=1", "1"),
        ("mnist_cnn", "optimizer.clip_norm=1", 1),
        ("mnist_cnn", "optimizer.b1=0.8", 0.8),
        ("digits_mlp", "model.kernel_std=None", None),
        ("digits_mlp", "model.activation=tanh", "tanh"),
        ("shakespeare_lstm", "data.tokenize.tokens.window=None", None),
        ("shakespeare_lstm", "data.tokenize.tokens.by=words", "words"),
        ("folk_lstm", "data.path=(1, 2)", "(1, 2)"),
    ],
)  # fmt: skip
def test_a_text_is_read_as_the_type_that_its_key_has(name, override, value):
    read = at(read_config(name, [override]), override.partition("=")[0])
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "mistake", "line", "remedy"),
    [
        ("digits_mlp", "model=mnist_cnn", "set --config.model.name=mnist_cnn",
         "model.name=mnist_cnn"),
        ("shakespeare_gru", "optimizer.learning_rate=cosine",
         "set --config.optimizer.learning_rate.name=cosine", "optimizer.learning_rate.name=cosine"),
        ("shakespeare_gru", "optimizer.learning_rate.peak=1", "set --config.optimizer.learning_rate"
         " as a whole", "optimizer.learning_rate=dict(name='cosine', peak=1)"),
        ("digits_mlp", "data.transforms.0.by=1", "set --config.data.transforms as a whole",
         "data.transforms=(dict(name='scale', by=1.0),)"),
        ("digits_mlp", "data.transforms=flatten", """data.transforms="(dict(name='flatten'),)\"""",
         "data.transforms=(dict(name='flatten'),)"),
        ("digits_mlp", "optimiser.name=sgd", "did you mean 'optimizer'", "optimizer.name=sgd"),
        ("digits_mlp", "model.activation=gelu", "'relu' or 'tanh' or 'sigmoid'",
         "model.activation=tanh"),
        ("addition_lstm", "model.vocabulary=1", "set it to None", "model.vocabulary=None"),
    ],
)  # fmt: skip
def test_a_remedy_can_be_followed(name, mistake, line, remedy):
    def built(override):
        config = read_config(name, [override, "data.twin=true"])
        if "peak" not in str(config["optimizer"]):  # where the remedy is to be continued
            config["optimizer"]["learning_rate"] = 0.1
        return build_experiment(config)

    with pytest.raises(UserError) as error:
        built(mistake)
    assert line in str(error.value) and "\n" not in str(error.value)
    assert built(remedy)


def test_another_source_takes_what_means_the_same_there(told):
    config, lines = told("bccd_fcos", "data.source=coco", "data.path=cells")
    data = config["data"]
    assert data["size"] == (240, 320) and len(data["augment"]) == 3
    assert data["validation"] == ("annotations/instances_val2017.json", "val2017")
    assert "data.dataset='bccd' dropped" in lines and "data.validation='validation' d" in lines
    data = told("bccd_fcos", "data.source=voc")[0]["data"]
    assert data["validation"] == "val"  # a string there, too, but the name of another thing


def test_what_is_set_before_a_switch_is_kept():
    overrides = ["data.path=2024", "data.source=text"]
    for given in (overrides, overrides[::-1]):
        assert read_config("shakespeare_lstm", given)["data"]["path"] == "2024"
    rate = read_config("mnist_cnn", ["optimizer.learning_rate.peak=1", "optimizer.name=sgd",
                                     "optimizer.learning_rate.name=linear"])  # fmt: skip
    assert rate["optimizer"]["learning_rate"]["peak"] == 1
    assert rate["optimizer"]["learning_rate"]["warmup"] == {"epochs": 0.5}
    with pytest.raises(UserError, match=r"config.model.hidden: unknown"):
        build_experiment(read_config("digits_mlp", ["model.hidden=(3,)", "model.name=mnist_cnn"]))


def test_equal_names_of_another_type_do_not_carry_over(told):
    config, lines = told("cifar10_resnet20", "model.name=resnet")
    assert config["model"]["depth"] == 50 and "depth=20 dropped: ResNet takes 18 or 34" in lines
    config, _ = told("imagenet_resnet50", "model.name=cifar_resnet")
    assert config["model"]["depth"] == 20  # 50 would be one, but not the one that was meant


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("mnist_cnn", "data.dataset=fashion_mnist"),
        ("mnist_cnn", "data.test=train[:10%]"),
        ("mnist_cnn", "data.train=train[:10%]"),
        ("mnist_cnn", "data.source=digits"),
        ("coco_fcos", "data.path=cells"),
        ("coco_fcos", "task.classes=2"),
        ("coco_fcos", "data.validation=None"),
        ("bishop_polynomial", "data.seed=0"),
        ("shapes_fcos", "data.test_examples=7"),
        ("shakespeare_lstm", "data.tokenize.tokens.by=words"),
    ],
)
def test_other_data_has_no_target_unless_one_is_set(told, name, override):
    config, lines = told(name, override)
    assert config["target"] is None
    assert lines.count("config.target is dropped") == 1 and override.split("=")[0] in lines
    config, lines = told(name, override, "target.value=0.1")
    assert config["target"]["value"] == 0.1 and "config.target is dropped" not in lines


@pytest.mark.parametrize(
    "override",
    ["data.test=test", "data.size=32", "data.augment=()", "data.data_dir=here", "data.cache=false",
     "model.dropout=0", "optimizer.name=sgd", "seed=3", "training.epochs=1", "data.twin=true"],
)  # fmt: skip
def test_the_same_data_keeps_its_target(told, override):
    config, lines = told("mnist_cnn", override)
    assert config["target"]["value"] == 0.995 and "target" not in lines


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("optimizer.learning_rate=1e-3", "config.optimizer.learning_rate loses name='cosine', "
         "peak=0.005, warmup={'epochs': 0.5}; to keep them, set --config.optimizer."
         "learning_rate.peak"),
        ("optimizer.learning_rate=dict(name='cosine', peak=1e-3)",
         "learning_rate loses warmup={'epochs': 0.5}; to keep them, set --config.optimizer"),
        ("optimizer.learning_rate.peak=1e-3", ""),
        ("optimizer.learning_rate=None", ""),
        ("training.log_every=dict(epochs=1)", ""),
        ("training=3", "config.training loses batch_size=100, epochs=10; to keep them, set "
         "--config.training.batch_size"),
    ],
)  # fmt: skip
def test_what_a_group_loses_is_told(told, override, line):
    lines = told("mnist_cnn", override)[1]
    assert line in lines and lines.count("\n") == (1 if line else 0)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_the_resolved_config_holds_all_defaults_and_says_the_same(name):
    raw, config = cfg.read(name), read_config(name)
    Settings.of(config)
    assert resolved(config) == config == resolved(raw)
    assert cfg.plain(json.loads(json.dumps(config))) == config
    added = cfg.differences(raw["model"], config["model"])
    assert all(": '(absent)' -> " in line for line in added)
    assert "eps" in config["optimizer"] or config["optimizer"]["name"] not in ("adam", "adamw")


def test_a_run_without_defaults_is_the_same_run(tmp_path):
    """As jaxdl 0.1 wrote them, and of code that is the user's own."""
    raw = {
        "data": {"source": "digits"},
        "model": {"name": "own_parts:Net"},
        "task": {"name": "classification", "classes": 10},
        "optimizer": {"name": "adam", "learning_rate": 0.1},
        "training": {"batch_size": 5, "steps": 2},
    }
    run = Run(tmp_path)
    run.claim(raw)
    (run.checkpoints / "1").mkdir(parents=True)
    assert resolved(raw)["model"]["width"] == 4
    run.check_claim(resolved(raw), resolved)  # the file of the run alone would not name code
    changed = resolved({**raw, "optimizer": {"name": "adam", "learning_rate": 0.1, "b1": 0.8}})
    with pytest.raises(UserError, match=r"another config \(config.optimizer.b1: 0.9 -> 0.8\)"):
        run.check_claim(changed, resolved)
    named = resolved({**raw, "optimizer": {"name": "sgd", "learning_rate": 0.1}})
    with pytest.raises(UserError, match=r"\(config.optimizer.name: 'adam' -> 'sgd'\)"):
        run.check_claim(named, resolved)


def test_defaults_of_code_that_nobody_trusts_are_not_looked_up(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model": {"name": "no_such_module:Net"}}))
    saved = Run(tmp_path).config()
    assert resolved(saved)["model"] == {"name": "no_such_module:Net"}
    own = cfg.as_own(saved, {"model": {"name": "no_such_module:Net"}})
    assert not isinstance(own["model"]["name"], FromRun)
    other = cfg.as_own(saved, {"model": {"name": "no_such_module:Other"}})
    assert isinstance(other["model"]["name"], FromRun)


@pytest.mark.parametrize("on_device", [True, False])
def test_alternating_flips_come_back_every_other_epoch(on_device):
    changes = [f"data.augment={({'name': 'random_flip', 'alternate': True},)}"]
    changes += [f"training.on_device={on_device}", "training.batch_size=1197"]  # all of them
    experiment = build_experiment(
        read_config("digits_mlp", [*changes, "optimizer.learning_rate=1e-30", "model.dropout=0"])
    )
    state, loader, step = experiment.init(), experiment.loader(), jax.jit(experiment.step)
    losses = []
    for t in range(4):
        inputs = jax.tree.map(lambda x: x[0], loader.make(t, 1))
        state, summary = step(state, fetch(jax.device_put(loader.columns), inputs))
        losses.append(float(summary["loss"]))
    assert losses[2:] == pytest.approx(losses[:2]) and losses[0] != pytest.approx(losses[1])


def test_a_column_of_ones_own_called_epoch_is_not_written_over(tmp_path):
    rng = np.random.default_rng(0)
    epoch, row = rng.normal(size=(20, 3)).astype("f"), np.arange(20, dtype="i")
    batch = {"epoch": epoch, "row": row, "label": row % 2}
    np.savez(tmp_path / "a.npz", **batch)
    changes = ["data.source=arrays", f"data.train={tmp_path / 'a.npz'}", "data.transforms=()"]
    changes += ["task.input=epoch", "training.batch_size=20", "model.dropout=0"]
    experiment = build_experiment(read_config("digits_mlp", changes))
    state = experiment.init()
    one, other = (experiment.step(state, {**batch, "epoch": x})[1]["loss"] for x in (epoch, -epoch))
    assert one != pytest.approx(other)

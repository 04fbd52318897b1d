"""Reading configs, overriding them, and building from signatures."""

import collections
import dataclasses
import fractions
import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl import config as cfg
from jaxdl import overrides
from jaxdl.configs import shipped
from jaxdl.durations import in_steps
from jaxdl.errors import UserError
from jaxdl.overrides import override

FILE = """
from ml_collections import ConfigDict

def get_config(depth="3"):
    config = ConfigDict()
    config.model = dict(name="mlp", hidden=(4, 5), depth=int(depth), dropout=0.5)
    config.training = dict(steps=10, keep=None)
    config.optimizer = dict(name="adam", b1=0.8, learning_rate=dict(name="cosine", peak=0.1))
    config.layers = [dict(size=1), dict(size=2)]
    return config
"""


def mlp(hidden: tuple[int, ...], depth: int = 1, dropout: float = 0.0):
    return hidden, depth, dropout


def linear(dropout: float = 0.0):
    return dropout


def listed(sizes: list[int], act: Callable | None = None, extra: Mapping[str, int] | None = None):
    return sizes, act, extra


MODELS = {"mlp": mlp, "linear": linear, "listed": listed}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "one.py"
    path.write_text(FILE)
    return str(path)


def overridden(file, *overrides):
    return override(cfg.read(file), overrides, {"model": cfg.Selectable(MODELS)})


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("model.depth=7", "model.depth", 7),
        ("model.dropout=1e-3", "model.dropout", 1e-3),
        ("model.dropout=0", "model.dropout", 0),
        ("model.hidden=(1,2,3)", "model.hidden", (1, 2, 3)),
        ("model.hidden=[1, 2]", "model.hidden", (1, 2)),
        ("model.hidden=()", "model.hidden", ()),
        (
            'layers=[{"size": 3, "bias": true, "init": null}]',
            "layers",
            ({"size": 3, "bias": True, "init": None},),
        ),
        ("model.bias=true", "model.bias", True),
        ("model.bias=False", "model.bias", False),
        ("model.dropout=None", "model.dropout", None),
        ("optimizer.learning_rate=0.5", "optimizer.learning_rate", 0.5),
        ("optimizer.learning_rate.peak=0.5", "optimizer.learning_rate.peak", 0.5),
        ("optimizer.learning_rate={'name': 'x'}", "optimizer.learning_rate", {"name": "x"}),
        ("training.keep.steps=5", "training.keep", {"steps": 5}),
        ("model.extra=dict(a=1, b=(dict(),))", "model.extra", {"a": 1, "b": ({},)}),
        ("model.name=None", "model.name", None),
        ("model.name='None'", "model.name", "None"),
        ("model.name=123", "model.name", "123"),  # what was a string stays one
        ("task=some words = here", "task", "some words = here"),
    ],
)
def test_overrides_of_every_kind(file, text, path, value):
    node = override(cfg.read(file), [text])
    for key in path.split("."):
        node = node[key]
    assert node == value and type(node) is type(value)


def test_a_whole_number_may_be_written_as_a_float(file):
    model = overridden(file, "model.depth=1e1", "model.hidden=(2e0, 3)")["model"]
    assert (model["depth"], model["hidden"]) == (10, (2, 3)) and type(model["depth"]) is int
    assert overridden(file, "model.dropout=1e0")["model"]["dropout"].hex() == (1.0).hex()
    assert overridden(file, "model.depth=1.5")["model"]["depth"] == 1.5  # to be refused by its type


def test_steps_and_epochs_replace_each_other(file):
    assert overridden(file, "training.epochs=2")["training"] == {"epochs": 2, "keep": None}
    assert overridden(file, "training.epochs=2", "training.steps=3")["training"]["steps"] == 3


def test_another_name_drops_what_it_does_not_take(file, caplog):
    with caplog.at_level(logging.WARNING):
        model = overridden(file, "model.name=linear")["model"]
    assert model == {"name": "linear", "dropout": 0.5}
    assert "config.model.hidden=(4, 5) dropped: linear does not take it" in caplog.text


def test_another_name_keeps_what_all_take(tmp_path, caplog):
    file = tmp_path / "config.py"
    file.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n"
        "    optimizer = dict(name='adam', b1=0.8, clip_norm=1.0)\n"
        "    return ConfigDict(dict(optimizer=optimizer))\n"
    )
    registry = {"adam": lambda b1=0.9: b1, "sgd": lambda momentum=0.0: momentum}
    shared = dataclasses.make_dataclass("Shared", [("clip_norm", float, 0.0)])
    optimizers = {"optimizer": cfg.Selectable(registry, shared=shared)}
    found = override(cfg.read(str(file)), ["optimizer.name=sgd"], optimizers)
    assert found["optimizer"] == {"name": "sgd", "clip_norm": 1.0}
    assert "b1=0.8 dropped" in caplog.text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model", r"--config.model: write --config.key.sub=value"),
        ("=3", "write --config.key.sub=value"),
        ("model.=depth=3", "--config.model.=depth=3: write --config.key.sub=value"),
        ("model..depth=3", "write --config.key.sub=value"),
        ("model.depth.x=3", "--config.model.depth.x: config.model.depth is 3, not a group"),
        ("model.name=mpl", r"config.model.name: unknown 'mpl'; did you mean 'mlp'"),
        ("model.dropout=nan", r"config.model.dropout: nan is not finite"),
        ("model.dropout=1e999", r"config.model.dropout: inf is not finite"),
        ('layers=[1, {"x": -Infinity}]', r"config.layers\[1\].x: -inf is not finite"),
        ("model.depth={1, 2}", r"config.model.depth: \{1, 2\} cannot be kept in config.json"),
        ("model.depth=b'x'", r"config.model.depth: b'x' cannot be kept"),
        ("model.name=no_such_module:f", "config.model.name: cannot import 'no_such_module'"),
        ("model.name=collections:Countr", "no 'Countr'; did you mean 'Counter'"),
    ],
)
def test_overrides_that_cannot_be(file, override, message):
    with pytest.raises(UserError, match=message) as error:
        overridden(file, override)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "{[]: 1}",
        "(",
        "'",
        "a:b",
        "[1, 2",
        "{",
        "-",
        "1 +",
        "\x00",
        "f()",
        "dict(1)",
        "dict(a=f())",
        "dict(**{'a': 1})",
    ],
)
def test_what_is_no_literal_is_text(file, text):
    assert override(cfg.read(file), [f"new={text}"])["new"] == text


def test_config_json_says_the_same_as_the_file(file, tmp_path):
    config = cfg.read(file)
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = cfg.read_json(tmp_path / "config.json")
    assert again == config and again["model"]["hidden"] == (4, 5)
    assert again["layers"] == ({"size": 1}, {"size": 2})


def test_file_with_an_argument(file):
    assert cfg.read(file + ":12")["model"]["depth"] == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:\n    pass", r"broken.py:1: SyntaxError"),
        (
            "import jax\n\ndef get_config():\n    return 1 / 0",
            r"broken.py:4: ZeroDivisionError: div",
        ),
        ("import no_such_thing", r"broken.py:1: ModuleNotFoundError: No module named 'no_such"),
        ("import helper", r"broken.py:1: SyntaxError: .*helper.py, line 2"),
        ("config = 1", r"broken.py: defines no get_config\(\)"),
        ("def get_config():\n    config = {}", r"broken.py: get_config\(\) .* None"),
        (
            "def get_config():\n    return {'f': print}",
            r"config.f: .* cannot be kept in config.json",
        ),
        ("def get_config():\n    return {'f': float('nan')}", r"config.f: nan is not finite"),
        ("raise ValueError('two\\nlines')", r"broken.py:1: ValueError: two"),
        ("exit()", r"broken.py:1: ends the program; get_config\(\) must return"),
        (
            "def get_config():\n    d = {}\n    d['a'] = d\n    return d",
            "broken.py: a part of the config contains itself",
        ),
        ("\0", r"broken.py"),
    ],
)
def test_broken_files(tmp_path, monkeypatch, text, message):
    (tmp_path / "broken.py").write_text(text)
    (tmp_path / "helper.py").write_text("\ndef f(:\n")
    monkeypatch.chdir(tmp_path)
    for name in ("broken.py", str(tmp_path / "broken.py")):
        with pytest.raises(UserError, match=message) as error:
            cfg.read(name)
        assert "\n" not in str(error.value) and ":None" not in str(error.value)


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match="did you mean 'digits_mlp'"):
        cfg.read("digits_mpl")
    with pytest.raises(UserError, match="is a directory"):
        cfg.read(str(tmp_path))
    with pytest.raises(UserError, match=r"ends in \.py"):
        cfg.read(str(tmp_path / "a.txt"))
    with pytest.raises(UserError, match="is this the --workdir of a run"):
        cfg.read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        cfg.read_json(tmp_path / "config.json")


def test_shipped_configs_go_by_their_name():
    assert cfg.read("digits_mlp") == cfg.read("configs/digits_mlp.py")
    assert {"digits_cnn", "mnist_mlp", "bishop_polynomial"} <= set(shipped())


def test_build_calls_what_is_named():
    assert cfg.build({"name": "mlp", "hidden": (1,), "dropout": 1}, MODELS, "config.model")
    assert cfg.build({"name": "fractions:Fraction", "numerator": 3}, {}, "m") == 3
    assert cfg.build({"name": "listed", "sizes": (1, 2)}, MODELS, "m")[0] == [1, 2]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (3, "config.m: expected a dict with 'name', got 3"),
        ({}, "config.m.name: missing; choose from linear, listed, mlp"),
        ({"name": "mpl"}, "config.m.name: unknown 'mpl'; did you mean 'mlp'"),
        ({"name": {}}, "config.m.name: unknown {}"),
        ({"name": None}, "config.m.name: unknown None"),
        ({"name": "mlp"}, "config.m.hidden: missing; mlp needs it"),
        ({"name": "mlp", "hiden": ()}, "config.m.hiden: unknown; did you mean 'hidden'"),
        ({"name": "mlp", "hidden": 3}, "config.m.hidden: expected list of int, got 3"),
        ({"name": "mlp", "hidden": (1, "2")}, "config.m.hidden: expected"),
        ({"name": "mlp", "hidden": (1, 2.5)}, "config.m.hidden: expected"),
        ({"name": "mlp", "hidden": (1,), "depth": True}, "config.m.depth: expected int, got True"),
        ({"name": "mlp", "hidden": (1,), "depth": 1.0}, "config.m.depth: expected int, got 1.0"),
        ({"name": "mlp", "hidden": (1,), "dropout": "0"}, "config.m.dropout: expected float"),
        ({"name": "listed", "sizes": [1], "extra": {"a": "b"}}, "config.m.extra: expected"),
    ],
)
def test_what_does_not_fit_the_signature_is_refused(node, message):
    with pytest.raises(UserError, match=message):
        cfg.build(cfg.plain(node), MODELS, "config.m")


def test_a_node_that_names_another_callable_differs_by_its_name():
    old, new = {"m": {"name": "a", "x": 1, "y": 0}, "d": {"source": "s", "p": 1}}, {"m": {}}
    new = {"m": {"name": "b", "x": 2}, "d": {"source": "s", "p": 2}}
    assert cfg.differences(old, new) == ["config.d.p: 1 -> 2", "config.m.name: 'a' -> 'b'"]


def test_defaults_are_filled_in_as_far_as_json_has_them():
    @dataclasses.dataclass
    class Part:
        size: int
        shape: tuple[int, ...] = (1, 2)
        extra: dict = dataclasses.field(default_factory=lambda: {"a": 1})
        inner: object = dataclasses.field(default_factory=lambda: fractions.Fraction(1, 2))
        many: object = dataclasses.field(default_factory=list)

    assert cfg.defaults(Part) == {"shape": (1, 2), "extra": {"a": 1}}
    nodes = {"m": cfg.Selectable({"part": Part, "mlp": mlp}, derived=("extra",))}
    config = {"m": ({"name": "part", "shape": ()}, {"name": "mlp"}, {"name": "none"}, 3)}
    assert cfg.complete(config, nodes)["m"] == (
        {"name": "part", "shape": ()},
        {"name": "mlp", "depth": 1, "dropout": 0.0},
        {"name": "none"},
        3,
    )


def test_differences_name_the_leaves():
    old, new = {"a": {"b": 1, "c": (1,)}, "d": 0}, {"a": {"b": 2, "c": (1,)}, "e": 0}
    assert cfg.differences(old, new) == [
        "config.a.b: 1 -> 2",
        "config.d: 0 -> '(absent)'",
        "config.e: '(absent)' -> 0",
    ]
    assert cfg.differences(old, old) == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_and_back_changes_nothing(value):
    value = cfg.plain(value)
    assert cfg.plain(json.loads(json.dumps(value))) == value


@given(examples=st.integers(1, 10**6), batch=st.integers(1, 4096), epochs=st.integers(1, 500))
def test_a_length_in_epochs_is_the_steps_that_cover_them(examples, batch, epochs):
    steps = in_steps({"epochs": epochs}, examples / batch, "t")
    assert steps == -(-examples * epochs // batch)


@pytest.mark.parametrize(
    "length",
    [{}, {"steps": None}, {"steps": 1, "epochs": 1}, {"step": 1}, {"steps": 1.5}, {"steps": 0},
     {"epochs": -1}, {"epochs": True}, {"steps": "9"}, {"epochs": math.nan}, {"steps": 2**31},
     {"steps": math.inf}, {"epochs": 3e8}],
)  # fmt: skip
def test_durations_that_are_none(length):
    with pytest.raises(UserError, match=r"^t[:.]"):
        in_steps(length, 10.0, "t")


def test_durations():
    assert in_steps(None, 10.0, "t") is None
    assert in_steps({"steps": 1e3, "epochs": None}, 10.0, "t") == 1000
    assert in_steps({"epochs": 0.01}, 10.0, "t") == 1
    assert in_steps(collections.OrderedDict(epochs=1.1), 10.0, "t") == 11


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("2024", tuple[str, ...] | None, ("2024",)),
        ("(2020, x y,'z')", tuple[str, ...], ("2020", "x y", "z")),
        ("a.json,images", tuple[str, str] | None, ("a.json", "images")),
        ("None", tuple[str, ...] | None, None),
        ("(1, 2)", tuple[int, int] | int, (1, 2)),
        ("()", tuple[str, ...], ()),
    ],
)
def test_words_stand_for_a_tuple_of_strings_where_one_is_annotated(text, hint, value):
    assert overrides._parse(text, hint, None) == value


def test_numbers_of_numpy_and_paths_are_kept_as_json_has_them():
    kept = cfg.plain({"steps": np.int64(5), "rate": np.float32(0.5), "path": Path("a") / "b.csv"})
    assert kept == {"steps": 5, "rate": 0.5, "path": os.path.join("a", "b.csv")}
    assert [type(value) for value in kept.values()] == [int, float, str]
    with pytest.raises(UserError, match=r"config\.x: inf is not finite"):
        cfg.plain({"x": np.float32("inf")})

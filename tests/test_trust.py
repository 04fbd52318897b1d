"""Whose code runs: a run, which somebody else may have written, names none without consent."""

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable

import pytest

from jaxdl import config as cfg
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError
from jaxdl.inference.restored import RestoredRun
from jaxdl.models import MODELS
from jaxdl.sweeps.sweep import Sweep
from jaxdl.training.build import build_experiment

MINE = """
import functools, os
import flax.linen as nn
from flax.linen import Dense
from jaxdl.models.mlp import MLP
from jaxdl.tasks import TASKS

open("ran", "a").close()

class Net(nn.Module):
    outputs: int = 10
    class Inner: pass
    @nn.compact
    def __call__(self, x): return nn.Dense(self.outputs)(x.reshape(len(x), -1))

class Nests:
    def __init__(self, inner):
        from jaxdl import config
        config.build(inner, {}, "config.model.inner")

def scale(by: float = 1.0): return lambda batch, key: batch
def step(rate: float = 0.1): return lambda t: rate
def curves(run):
    from matplotlib.figure import Figure
    return Figure()

system, half, number = os.system, functools.partial(Net, 5), 3
run = Net().clone
os = os
"""
CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mine:Net"},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "training": {"batch_size": 500, "steps": 2, "evaluate": ()},
}
SHELL = {"name": "os:system", "command": "touch ran"}
PLACES = {
    "model": {"model": SHELL},
    "task": {"task": SHELL},
    "source": {"data": {"source": "os:system", "command": "touch ran"}},
    "transforms": {"data": {"source": "digits", "transforms": (SHELL,)}},
    "augment": {"data": {"source": "digits", "augment": (SHELL,)}},
    "views": {"data": {"source": "digits", "views": (SHELL,)}},
    "optimizer": {"optimizer": SHELL},
    "schedule": {"optimizer": {"name": "sgd", "learning_rate": SHELL}},
    "group": {"optimizer": {**CONFIG["optimizer"], "groups": ((".*", {"learning_rate": SHELL}),)}},
    "optimizer of a group": {"optimizer": {**CONFIG["optimizer"], "groups": ((".*", SHELL),)}},
    "figures": {"figures": ("os:system",)},
    "logging": {"logging": (SHELL,)},
    "callbacks": {"callbacks": ("os:system",)},
}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder of a user's own code, in which commands are run; `mine` leaves a file `ran`."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    yield tmp_path
    sys.modules.pop("mine", None)


def written(folder, **nodes):
    """A run that somebody sent, of a config of which some nodes differ."""
    config = {**CONFIG, "model": {"name": "mlp", "outputs": 10}, **nodes}
    (folder / "run").mkdir()
    (folder / "run" / "config.json").write_text(json.dumps(config))
    data = {"columns": {}, "classes": [], "vocabularies": {}}
    (folder / "run" / "data.json").write_text(json.dumps(data))
    return folder / "run"


def name_of_run(folder, name, trust=()):
    """A name as the config of a run holds it."""
    (folder / "name.json").write_text(json.dumps({"name": name}))
    return cfg.read_json(folder / "name.json", trust=trust)["name"]


@pytest.mark.parametrize("place", PLACES)
def test_no_part_of_a_run_runs_what_nobody_consented_to(mine, call, place):
    workdir = written(mine, **PLACES[place])
    for command in (["train"], ["evaluate"]):
        status, out, err = call(*command, "--workdir", workdir)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "config.json: config." in err and "'os:system'" in err and "--trust os" in err
    assert not (mine / "ran").exists()


@pytest.mark.parametrize("place", ["model", "task", "transforms", "views"])
@pytest.mark.parametrize("command", ["predict", "export", "sample"])
def test_nor_does_using_what_it_has_learnt(mine, call, place, command):
    workdir = written(mine, **PLACES[place])
    (mine / "a.png").touch()
    words = {"predict": ["a.png"], "export": ["--output", "out"], "sample": []}[command]
    status, _, err = call(command, *words, "--workdir", workdir)
    assert status == 2 and "--trust os" in err and err.count("\n") == 1
    with pytest.raises(UserError, match="--trust os"):
        RestoredRun(Run(workdir))
    assert not (mine / "ran").exists()


def test_consent_is_to_the_module_that_is_named_alone(mine, call):
    workdir = written(mine, model=SHELL)
    for trust in ("mine", "os.path", "o", "system", "OS"):
        status, _, err = call("evaluate", "--workdir", workdir, "--trust", trust)
        assert status == 2 and err.endswith("if you trust that code, add --trust os\n")
    # Of the module os, system is a guest.
    status, _, err = call("evaluate", "--workdir", workdir, "--trust", "os")
    assert status == 2 and "'system' is not a class or function that 'os' defines" in err
    status, _, err = call("evaluate", "--workdir", workdir, "--trust", "os:system")
    assert status == 2 and "'os:system' is not the name of a module" in err
    assert not (mine / "ran").exists()


def test_a_run_that_the_users_own_config_claims_needs_no_consent(mine, call):
    parts = {
        **CONFIG,
        "data": {"source": "digits", "transforms": ({"name": "mine:scale"},)},
        "optimizer": {"name": "sgd", "learning_rate": {"name": "mine:step"}},
        "figures": ("mine:curves",),
    }
    (mine / "config.py").write_text(f"def get_config():\n    return {parts!r}\n")
    train = ("train", "--workdir", "run")
    status, _, err = call(*train, "--config", "config.py")
    assert (status, err) == (0, "") and (mine / "run" / "figures" / "curves.png").exists()
    (mine / "run" / "result.json").unlink()
    status, _, err = call(*train)
    asked = "run/config.json: config.figures asks to run 'mine:curves'"
    assert (status, err) == (2, f"jaxdl: {asked}; if you trust that code, add --trust mine\n")
    assert call(*train, "--config", "config.py")[0] == 0  # it goes on
    for command in ("evaluate", "train"):
        assert call(command, "--workdir", "run", "--trust", "other", "--trust", "mine")[0] == 0
    assert call("export", "--workdir", "run", "--output", "out", "--trust", "mine")[0] == 0
    with pytest.raises(UserError, match="--trust mine"):
        build_experiment(Run("run").config())
    assert build_experiment(Run("run", trust=["mine"]).config()).figures
    assert build_experiment(Run("run", trust="mine").config()).figures


def test_a_sweep_asks_too(mine, call):
    config = {**CONFIG, "training": {**CONFIG["training"], "evaluate": ("test",)}}
    (mine / "config.py").write_text(f"def get_config():\n    return {config!r}\n")
    grid = ["--config", "config.py", "--seeds", "1"]
    assert call("sweep", "--workdir", "grid", "--in-turn", *grid)[0] == 0
    (mine / "grid" / "seed=0" / "result.json").unlink()
    status, out, err = call("sweep", "--workdir", "grid")
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "grid/sweep.json: config.model.name asks to run 'mine:Net'" in err
    for words in (grid, ["--trust", "mine"]):
        assert call("sweep", "--workdir", "grid", *words)[0] == 0


def test_every_point_of_a_sweep_is_asked_about(mine, call):
    sound = {**CONFIG, "model": {"name": "mlp", "outputs": 10}}
    points = {"a=1": sound, "a=2": {**sound, "model": SHELL}}
    found = {"points": points, "values": {"a=1": {"a": 1}, "a=2": {"a": 2}}, "seeds": 1}
    (mine / "grid").mkdir()
    (mine / "grid" / "sweep.json").write_text(json.dumps(found))
    status, _, err = call("sweep", "--workdir", "grid")
    assert status == 2 and "--trust os" in err and not (mine / "ran").exists()
    assert not (mine / "grid" / "a=1").exists()  # nothing is trained before


@pytest.mark.parametrize("point", ["../out", "/tmp/out", "a/../../out", ".."])
def test_a_sweep_trains_in_its_folder_alone(point):
    with pytest.raises(UserError, match="invalid point"):
        Sweep.from_json({"points": {point: CONFIG}, "values": {point: {}}, "seeds": 1})


def test_starting_from_a_run_and_looking_at_one_run_none_of_its_code(mine, call):
    (mine / "config.py").write_text(f"def get_config():\n    return {CONFIG!r}\n")
    assert call("train", "--config", "config.py", "--workdir", "run")[0] == 0
    config = json.loads((mine / "run" / "config.json").read_text())
    config["model"] = SHELL
    (mine / "run" / "config.json").write_text(json.dumps(config))
    (mine / "ran").unlink()
    sys.modules.pop("mine")
    assert call("inspect", "run")[0] == 0
    start = {**CONFIG, "model": {"name": "mine:Net"}, "init_from": "run"}
    (mine / "mine.py").write_text(MINE.replace('open("ran", "a").close()', ""))
    (mine / "start.py").write_text(f"def get_config():\n    return {start!r}\n")
    status, _, err = call("train", "--config", "start.py", "--workdir", "next")
    assert (status, err) == (0, "") and not (mine / "ran").exists()


REFUSED = [
    *("mine:system", "mine:half", "mine:number", "mine:run", "mine:os", "mine:Dense", "mine:MLP"),
    *("mine:os.system", "mine:Net.Inner", "mine:Net.clone", "mine:__builtins__", "mine:TASKS"),
    *("mine:gone", "builtins:eval", "builtins:dict", "mine.Net:x"),
    *("mine:", ":Net", "mine:Net:x", ".mine:Net", "mine:Net.", "mine :Net", "mine:Net\n"),
    *("os;:x", "\x1b]0;owned\x07:x", "mine:Net()", "-:-", "1mine:x", "a/b:c", f"{'m' * 999}:x"),
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_even_with_consent_a_run_names_only_what_the_module_defines(mine, name):
    found = name_of_run(mine, name, ["mine", "builtins", "mine.Net", "mine ", "os;", ""])
    with pytest.raises(UserError) as refused:
        cfg.find(found, MODELS, "config.model.name")
    message = str(refused.value)
    assert message.startswith(f"{mine}/name.json: config.model.name")
    assert len(message.splitlines()) == 1 and "\x1b" not in message and len(message) < 1000


def test_a_package_vouches_for_the_modules_inside_it(tmp_path):
    from flax.linen.linear import Dense

    for module in ("flax.linen", "flax.linen.linear"):
        name = name_of_run(tmp_path, f"{module}:Dense", [module])
        assert cfg.find(name, {}, "m") is Dense
    with pytest.raises(UserError, match=r"--trust flax\.linen\.linear"):
        cfg.find(name_of_run(tmp_path, "flax.linen.linear:Dense", ["flax.linen"]), {}, "m")
    with pytest.raises(UserError, match=r"not a class or function that 'flax\.linen' defines"):
        cfg.find(name_of_run(tmp_path, "flax.linen:FrozenDict", ["flax.linen"]), {}, "m")


def test_a_users_own_config_names_whatever_can_be_called(mine):
    for name in ("flax.linen:Dense", "mine:half", "mine:Net.Inner", "mine:MLP", "os.path:join"):
        assert callable(cfg.find(name, {}, "m"))
    for name in ("mine:number", "mine:os", "builtins:dict"):
        with pytest.raises(UserError, match="name a class or function"):
            cfg.find(name, {}, "m")


def test_where_a_text_comes_from_goes_with_it(mine):
    workdir = written(mine, model={"name": "mine:Nests", "inner": {"name": "mine:Net"}})
    config = Run(workdir).config()
    for same in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), cfg.plain(config)):
        with pytest.raises(UserError, match=r"run/config\.json: .* --trust mine"):
            cfg.find({**same["model"]}["name"], {}, "m")
    assert config == json.loads(json.dumps(config), object_hook=cfg.plain)
    # A model that builds nodes of its own asks likewise.
    node = {**config["model"], "name": "mine:Nests"}
    with pytest.raises(UserError, match=r"config\.model\.inner\.name asks .* --trust mine"):
        cfg.build(node, {}, "config.model")


def test_a_text_where_a_function_is_expected_stays_a_text(mine):
    def takes(function: Callable[[], int], deep: dict[str, Callable[[], int]] | None = None):
        raise AssertionError(function)

    name = name_of_run(mine, "mine:scale", ["mine"])
    for arguments in ({"function": name}, {"function": max, "deep": {"a": name}}):
        with pytest.raises(UserError, match=r"expected .*, got .*mine:scale"):
            cfg.call(takes, arguments, "m")
    assert not (mine / "ran").exists()


def test_the_current_directory_shadows_nothing_of_a_runs(mine):
    (mine / "colorsys.py").write_text("open('ran', 'a').close()\n")
    sys.modules.pop("colorsys", None)
    found = cfg.find(name_of_run(mine, "colorsys:rgb_to_hsv", ["colorsys"]), {}, "m")
    assert found.__code__.co_filename != str(mine / "colorsys.py")
    assert cfg.find(name_of_run(mine, "mine:Net", ["mine"]), {}, "m").__module__ == "mine"
    assert "" not in sys.path


def test_a_program_started_inside_a_run_takes_no_module_from_there(mine):
    workdir = written(mine)
    for module in ("json", "numpy", "argparse"):
        (workdir / f"{module}.py").write_text("open('ran', 'a').close()\n")
    command = [sys.executable, "-m", "jaxdl", "inspect", "."]
    done = subprocess.run(command, cwd=workdir, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and not (workdir / "ran").exists()

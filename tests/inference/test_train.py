"""`jaxdl.train`: a run of the command line from Python, in a notebook or a thread of one's own."""

import json
import os
import re
import shutil
import signal
import threading

import numpy as np
import pytest
from ml_collections import ConfigDict

import jaxdl
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError

CONFIG = {
    "seed": 0,
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mlp", "outputs": 10, "hidden": (16,)},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "adam", "learning_rate": 1e-2},
    "training": {"batch_size": 100, "steps": 30, "evaluate_every": {"steps": 15}},
}
IMAGES = np.zeros((3, 8, 8, 1), np.uint8)
SHORT = ["training.steps=2", "training.evaluate_every.steps=2"]


def digest(run):
    return run.parts.directory.result()["params_sha256"]


class Evaluations(jaxdl.Callback):
    """Keeps what it is given."""

    def __init__(self):
        self.steps, self.result = [], None

    def on_evaluation(self, step, metrics, tables):
        self.steps.append(step)

    def on_finish(self, result):
        self.result = result


SEEN = Evaluations()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train") / "run"
    return jaxdl.train(ConfigDict(CONFIG), folder, callbacks=[SEEN])


def test_callbacks_are_called_as_it_trains(run):
    assert SEEN.steps == [15, 30] and SEEN.result["params_sha256"] == digest(run)


def test_what_it_gives_is_the_run_loaded(run):
    loaded = jaxdl.load(run.parts.directory.folder)
    np.testing.assert_array_equal(run.predict(IMAGES), loaded.predict(IMAGES))
    assert run.metrics == loaded.metrics and run.metrics["test/accuracy"] > 0.5
    assert [*run.figures] == ["learning_curves"]
    assert run.figures["learning_curves"].read_bytes().startswith(b"\x89PNG")


def test_the_same_call_again_repeats_the_result(run, capsys):
    folder = run.parts.directory.folder
    again = jaxdl.train(CONFIG, folder)
    assert digest(again) == digest(run)
    assert capsys.readouterr().out == f"{folder}: has already finished; this is its result\n"
    assert digest(jaxdl.train(None, folder)) == digest(run)


def test_ctrl_c_is_a_keyboard_interrupt_and_the_same_call_resumes(run, tmp_path, monkeypatch):
    log, before = Run.log, signal.getsignal(signal.SIGINT)

    def interrupted(self, step, *arguments):
        if step == 15:
            os.kill(os.getpid(), signal.SIGINT)
        return log(self, step, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "log", interrupted)
        jaxdl.train(CONFIG, tmp_path)
    assert signal.getsignal(signal.SIGINT) == before
    stopped = jaxdl.load(tmp_path)
    assert int(stopped.parts.state.step) == 15 and "not finished" in stopped._repr_html_()
    assert digest(jaxdl.train(CONFIG, tmp_path)) == digest(run)


def test_it_trains_in_a_thread(run, tmp_path):
    trained = []
    thread = threading.Thread(target=lambda: trained.append(jaxdl.train(CONFIG, tmp_path)))
    thread.start()
    thread.join()
    assert digest(trained[0]) == digest(run)


def test_a_run_is_extended(tmp_path):
    jaxdl.train(CONFIG, tmp_path, SHORT)
    longer = jaxdl.train(None, tmp_path, extend={"steps": 4})
    assert longer.parts.directory.result()["step"] == 4


def test_code_that_the_config_names_is_trusted(tmp_path):
    mine = ({"name": "own_parts:unit", "column": "image", "top": 16.0},)
    config = {**CONFIG, "data": {"source": "digits", "transforms": mine}}
    assert jaxdl.train(config, tmp_path, SHORT).predict(IMAGES).shape == (3,)
    with pytest.raises(UserError, match="add --trust own_parts"):
        jaxdl.train(None, tmp_path)


def test_a_notebook_shows_the_result_escaped(run, tmp_path):
    folder = run.parts.directory.folder
    shown = run._repr_html_()
    value = f"{run.metrics['test/accuracy']:.6g}"
    assert f"<tr><td>test/accuracy</td><td>{value}</td></tr>" in shown
    assert "evaluated 300 validation, 300 test examples at step 30" in shown
    result = json.loads((folder / "result.json").read_text())
    result["target"] = {"metric": "a", "value": 1, "source": "<script>\x1b"}
    hostile = tmp_path / "<b>"
    shutil.copytree(folder, hostile)
    (hostile / "result.json").write_text(json.dumps(result))
    shown = jaxdl.load(hostile)._repr_html_()
    assert "&lt;script&gt;\\x1b" in shown and {*re.findall(r"<[^>]*>", shown)} <= TAGS


TAGS = {f"<{end}{tag}>" for tag in ("p", "table", "tr", "td") for end in ("", "/")}
WRONG = {
    "a config that is not there": (("nope.py", "run"), "no such file or shipped config"),
    "a misspelt name": (("digits_cn", "run"), "did you mean 'digits_cnn'?"),
    "a number": (
        (3, "run"),
        "expected a file, the name of a shipped config or a ConfigDict, got 3",
    ),
    "a function": ((len, "run"), "got <built-in function len>"),
    "an unknown key": (({**CONFIG, "modle": {}}, "run"), "config.modle: unknown"),
    "a value that JSON lacks": (({**CONFIG, "seed": 1j}, "run"), "config.seed: 1j cannot be kept"),
    "one text of overrides": ((CONFIG, "run", "seed=1"), "expected a list, such as ['seed=1']"),
    "an override without a value": ((CONFIG, "run", ["seed"]), "write --config.key.sub=value"),
    "nothing to resume": ((None, "nothing"), "nothing: holds no run"),
    "a folder of others": ((CONFIG, "full"), "not a run; choose a new directory"),
    "a file": ((CONFIG, "full/notes.txt"), "full/notes.txt: cannot be written"),
    "a name that is too long": (("x" * 300, "run"), "the name is too long"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_mistake_is_one_line(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    arguments, told = WRONG[kind]
    with pytest.raises(UserError) as error:
        jaxdl.train(*arguments)
    (line,) = error.value._render_traceback_()  # what IPython shows
    assert told in line and "\n" not in line and line.startswith("UserError: ")


def test_another_config_in_the_workdir_is_one_line(run, refuses):
    with refuses("holds a run of another config (config.seed: 0 -> 1)", "choose another"):
        jaxdl.train({**CONFIG, "seed": 1}, run.parts.directory.folder)


def test_an_extension_needs_a_unit(run, refuses):
    with refuses("--extend: give exactly one of steps and epochs, got {'hours': 3}"):
        jaxdl.train(CONFIG, run.parts.directory.folder, extend={"hours": 3})

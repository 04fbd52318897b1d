"""The run directory."""

import json
import os

import pytest

from jaxdl.errors import UserError
from jaxdl.runs import Run, environment, write_json

CONFIG = {"model": {"name": "mlp", "hidden": (4,)}, "seed": 0}


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "deep" / "run")
    run.claim(CONFIG)
    run.start(0, {})
    yield run
    run.close()


def test_the_config_comes_back_as_it_was(run):
    assert run.config() == CONFIG


def test_a_start_forgets_later_steps_and_a_half_written_line(run):
    for step in range(1, 6):
        run.log(step, {"loss": 1 / step})
    with open(run.folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "lo')
    assert [line["step"] for line in run.history()] == [1, 2, 3, 4, 5]
    run.close()
    run.start(3, {})
    run.log(4, {"loss": 0.5})
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history()
    assert run.history()[2:] == [{"step": 3, "loss": 1 / 3}, {"step": 4, "loss": 0.5}]


def test_a_run_goes_on_with_the_same_data_only(run):
    run.start(0, {"examples": {"train": 3}})
    assert run.data() == {"examples": {"train": 3}}
    run.close()
    run.start(7, {"examples": {"train": 3}})
    with pytest.raises(UserError, match=r"data has changed .*examples.train: 3 -> 4.*--workdir"):
        run.start(7, {"examples": {"train": 4}})
    assert run.data() == {"examples": {"train": 3}}
    run.start(0, {"examples": {"train": 4}})  # nothing is learnt yet
    assert run.data() == {"examples": {"train": 4}}


def test_a_fresh_directory_has_no_history(run):
    assert run.history() == [] and run.result() is None


def test_a_claim_of_another_config_is_refused_once_something_is_saved(run):
    other = {"model": {"name": "mlp", "hidden": (5,)}, "seed": 0}
    run.check_claim(other)
    (run.checkpoints / "10").mkdir(parents=True)
    run.check_claim(CONFIG)
    with pytest.raises(UserError, match=r"another config \(.*hidden: \(4,\) -> \(5,\)\)"):
        run.check_claim(other)


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds 'thesis.tex' but no config.json"):
        Run(tmp_path).check_claim(CONFIG)


def test_a_directory_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=r"--workdir .*: cannot be written \("):
            Run(folder)


def test_the_environment_keeps_earlier_starts(run):
    for _ in range(2):
        run.close()
        run.start(0, {})
    kept = json.loads((run.folder / "environment.json").read_text())
    assert len(kept["earlier"]) == 2 and kept["packages"]["jax"] and kept["devices"]
    assert environment()["processors"] == os.cpu_count()


def test_writing_json_is_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]

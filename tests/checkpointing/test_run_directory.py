"""The run directory."""

import json
import os

import pytest

from jaxdl.checkpointing.environment import environment
from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError
from jaxdl.json_files import write_json

CONFIG = {"model": {"name": "mlp", "hidden": (4,)}, "seed": 0}


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "deep" / "run")
    run.claim(CONFIG)
    run.start(0, {})
    yield run


def test_the_config_comes_back_as_it_was(run):
    assert run.config() == CONFIG


def test_a_start_forgets_later_steps_and_a_half_written_line(run):
    for step in range(1, 6):
        run.log(step, {"loss": 1 / step})
    with open(run.folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "lo')
    assert [line["step"] for line in run.history()] == [1, 2, 3, 4, 5]
    run.start(3, {})
    run.log(4, {"loss": 0.5})
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history()
    assert run.history()[2:] == [{"step": 3, "loss": 1 / 3}, {"step": 4, "loss": 0.5}]


def test_a_run_goes_on_with_the_same_data_only(run):
    run.start(0, {"examples": {"train": 3}})
    assert run.data() == {"examples": {"train": 3}}
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
            Run(folder).claim({})


def test_reading_makes_nothing(tmp_path):
    run = Run(tmp_path / "run")
    assert run.result() is None and run.history() == []
    assert list(tmp_path.iterdir()) == []


def test_the_environment_keeps_earlier_starts(run):
    for _ in range(2):
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


@pytest.mark.parametrize(
    "content",
    [b"", b'{"command": [', b"[" * 10**5, b"7" * 5000, b"[1]", b'{"earlier": 3}', b"\xff"],
)
def test_a_damaged_environment_is_set_aside(run, caplog, content):
    path = run.folder / "environment.json"
    path.write_bytes(content)
    run.start(0, {})
    (record,) = caplog.records
    assert str(path) in record.getMessage() and "damaged-environment.json" in record.getMessage()
    assert json.loads(path.read_text())["earlier"] == []
    assert (run.folder / "damaged-environment.json").read_bytes() == content


RESULT = {
    "step": 8, "metrics": {"test/loss": 0.5}, "examples": {"test": 3},
    "examples_per_second": 9.5, "target": None, "met": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"metrics": {"test/loss": "low"}}, "metrics.'test/loss'"),
        ({"metrics": {"test/loss": [0.5]}}, "metrics.'test/loss'"),
        ({"metrics": 3}, "metrics is 3"),
        ({"step": 10**400}, "step"),
        ({"examples": {"test": "3"}}, "examples.test"),
        ({"examples_per_second": "fast"}, "examples_per_second"),
        ({"target": {"metric": "test/loss"}}, "target is {"),
    ],
)
def test_a_result_of_other_types_is_refused(run, change, place):
    write_json(run.folder / "result.json", RESULT | {"metrics": {"test/loss": None}})
    assert run.result()["metrics"] == {"test/loss": None}
    (run.folder / "result.json").write_text(json.dumps({**RESULT, **change}))
    with pytest.raises(UserError, match=r"result\.json: .*restore it") as caught:
        run.result()
    assert place in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"columns": 3}, {"columns": {"image": {"dtype": "uint8"}}}, {"classes": "ab"},
     {"columns": {"image": {"dtype": "uint8", "shape": ["8"]}}}, {"vocabularies": {"text": 1}}],
)  # fmt: skip
def test_data_of_other_types_is_refused(run, change):
    (run.folder / "data.json").write_text(json.dumps(change))
    with pytest.raises(UserError, match=r"data\.json: "):
        run.data()

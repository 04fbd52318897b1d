"""Successive halving: rungs, decisions, and a population whose members are replaced."""

import itertools
import json
import math
import os
import shlex
import signal

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.checkpointing.run_directory import Run
from jaxdl.data.order import ShuffledEpochs
from jaxdl.figures.search import search_figure
from jaxdl.sweeps.halving import Halving
from jaxdl.sweeps.rungs import Bracket, Rungs
from jaxdl.sweeps.search import Search, write
from jaxdl.sweeps.trace import Record, read_trace
from jaxdl.training.build import read_config
from jaxdl.training.measure import Measure

CONFIG = """
from ml_collections import ConfigDict
def get_config():
    config = ConfigDict()
    config.seed = 3
    config.data = dict(source='digits', transforms=(dict(name='scale', by=1/16),))
    config.model = dict(name='mlp', outputs=10, hidden=(8,))
    config.task = dict(name='classification', classes=10)
    config.optimizer = dict(name='sgd', momentum=0.9,
                            learning_rate=dict(name='cosine', peak=1e-2))
    config.training = dict(batch_size=48, steps=9, log_every=dict(steps=1),
                           evaluate_every=dict(steps=9))
    config.logging = ()
    return config
"""
PEAK = ("--draw", "optimizer.learning_rate.peak=log:1e-3:1")
DRAWS = (*PEAK, "--draw", "task.label_smoothing=0:0.3", "--draw", "optimizer.momentum=0.5:0.9")
BLOBS = ("source=blobs", "transforms=()")
BLOBS = (*(f"--config.data.{text}" for text in BLOBS), "--config.task.input=features")
HALVING = ("--halving", 4, "--eta", 2, "--budget", 8)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr("jaxdl.training.recorder.draw", lambda *_: None)
    monkeypatch.setattr("jaxdl.checkpointing.run_directory.environment", dict)


@pytest.fixture
def search(call, tmp_path):
    """Searches by the tiny config in a folder: (exit status, stdout, stderr)."""
    (tmp_path / "tiny.py").write_text(CONFIG)
    return lambda folder, *words: call(
        "sweep", "--config", tmp_path / "tiny.py", "--workdir", tmp_path / folder, *words
    )


def result(folder):
    return json.loads((folder / "result.json").read_text())


# ---- Rungs


@pytest.mark.parametrize(
    ("total", "eta", "places", "steps"),
    [
        (81, 3, 27, (3, 9, 27, 81)),
        (81, 3, 26, (9, 27, 81)),
        (100, 3, 9, (12, 36, 100)),
        (9, 2, 4, (3, 6, 9)),
        (4, 2, 1000, (1, 2, 4)),
        (1000, 10, 10, (100, 1000)),
    ],
)
def test_rungs_thin_out_members_to_one_by_the_end_of_a_run(total, eta, places, steps):
    assert Rungs.of(total, eta, places).steps == steps


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 10**6), st.integers(2, 5), st.integers(5, 10**4))
def test_rungs_ascend_to_the_length_of_a_run(total, eta, places):
    if total >= eta:
        steps = Rungs.of(total, eta, places).steps
        assert len(steps) > 1 and steps[-1] == total and steps[0] >= 1
        assert all(a < b for a, b in itertools.pairwise(steps))
        assert all(step % steps[0] == 0 for step in steps[:-1])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=30), st.integers(2, 4), st.data())
def test_whoever_is_among_the_best_goes_on(values, eta, data):
    values = [math.inf if math.isnan(value) else value for value in values]
    reached = dict(enumerate(values))
    member = data.draw(st.sampled_from(sorted(reached)))
    better = sum(
        v < reached[member] or (v == reached[member] and m < member) for m, v in reached.items()
    )
    among = better < max(1, len(values) // eta)
    goes = Rungs((1, 2), eta).promoted(reached, member)
    assert goes is (among and math.isfinite(reached[member]))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 4), st.integers(4, 9), st.integers(1, 6), st.data())
def test_a_bracket_decides_by_the_rule_until_nobody_can_finish(total, eta, size, runs, data):
    if total < eta:
        return
    rungs = Rungs.of(total, eta, size)
    bracket, records = Bracket(rungs, size, runs * total), []
    while not bracket.over:
        assert bracket.left > 0 or bracket.arrivals()
        bracket.advance(data.draw(st.integers(min(1, bracket.left), bracket.left)))
        other = Bracket(rungs, size, runs * total)
        other.restore(bracket.notes())
        assert other.notes() == bracket.notes()
        if bracket.left:
            continue
        values = {i: data.draw(st.floats(0, 1) | st.just(math.inf)) for i in bracket.arrivals()}
        for each in bracket.decide(values).values():
            metric = each.value if math.isfinite(each.value) else None
            records.append(
                Record(each.member, {}, each.rung, each.step, metric, each.decision, bracket.steps)
            )
        bracket.refill()
    assert_decided_by_the_rule(records, eta, rungs.steps)
    whole = [record.metric for record in records if record.decision == "finished"]
    assert bracket.steps <= runs * total
    assert bracket.best.value == min(whole) if whole else bracket.best is None


def test_the_figure_takes_what_has_diverged():
    def line(member, step, metric, decision):
        setting = {"optimizer.b1": 10.0**-member, "model.name": "mlp"}
        return {"member": member, "setting": setting, "step": step, "metric": metric,
                "decision": decision}  # fmt: skip

    lines = [line(0, 1, 2.0, "promoted"), line(1, 1, 3.0, "stopped"), line(2, 1, None, "diverged")]
    lines += [line(0, 9, 1.0, "finished")]
    steps, b1, name = search_figure(lines, "loss", ["optimizer.b1", "model.name"], True).axes
    assert b1.get_xlabel() == "optimizer.b1" and b1.get_xscale() == "log"
    assert [text.get_text() for text in name.get_xticklabels()] == ["mlp"]
    assert [tuple(part.get_xdata()) for part in steps.lines] == [(1, 9), (1,)]


# ---- A population whose members are replaced


def assert_decided_by_the_rule(records, eta, rungs):
    """Each decision follows from what had reached its rung by then, all together."""
    reached = [dict() for _ in rungs]
    for record in records:
        reached[record.rung][record.member] = record
    for record in records:
        others = [r for r in reached[record.rung].values() if r.steps <= record.steps]
        ranked = sorted(
            others, key=lambda r: (math.inf if r.metric is None else r.metric, r.member)
        )
        among = record in ranked[: max(1, len(others) // eta)]
        if record.decision in ("promoted", "stopped"):
            assert (record.decision == "promoted") is among
            assert record.step == rungs[record.rung] < rungs[-1]
        if record.decision == "finished":
            assert record.step == rungs[-1]


def test_members_are_replaced_without_a_new_compilation(call, search, tmp_path, monkeypatch):
    splits, compiled, events = [], [], []
    measure, refill, finish = Measure.__call__, Halving._refill, Halving._finish

    def measured(self, state):
        splits.append(self.experiment.eval_splits)
        return measure(self, state)

    def refilled(self, *rest):
        events.append(self.bracket.steps)
        return refill(self, *rest)

    def finished(self, *rest):
        events.clear()
        return finish(self, *rest)

    def listen(event, *_, **__):  # the first event makes the first checkpoint, which is compiled
        if len(events) > 1 and event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    monkeypatch.setattr(Measure, "__call__", measured)
    monkeypatch.setattr(Halving, "_refill", refilled)
    monkeypatch.setattr(Halving, "_finish", finished)
    jax.monitoring.register_event_duration_secs_listener(listen)
    status, out, error = search("a", *HALVING, *DRAWS)
    assert status == 0, error
    assert not compiled

    folder, records = tmp_path / "a", read_trace(tmp_path / "a")
    assert_decided_by_the_rule(records, 2, (3, 6, 9))
    members = {record.member for record in records}
    assert members == set(range(len(members))) and len(members) > 4
    assert all(0 <= r.setting["task.label_smoothing"] <= 0.3 for r in records)
    assert not (folder / "checkpoints").exists()
    assert (folder / "figures" / "search.png").stat().st_size > 1000

    # The best is what the validation split says, and the test split was looked at once.
    whole = [record for record in records if record.decision == "finished"]
    best = min(whole, key=lambda record: record.metric)
    held = json.loads((folder / "search.json").read_text())["best"]
    assert held["member"] == best.member and held["setting"] == best.setting
    assert [split for split in splits if "test" in split] == [("validation", "test")]

    # Alone it is the same run.
    (line,) = (line for line in out.splitlines() if line.startswith("to train it alone: "))
    _, *words = shlex.split(line.removeprefix("to train it alone: "))
    assert call(*words)[0] == 0
    alone, found = result(tmp_path / "a-best")["metrics"], result(folder / "best")["metrics"]
    assert alone["validation/loss"] == pytest.approx(best.metric, rel=1e-4)
    for name, value in found.items():
        assert alone[name] == pytest.approx(value, rel=1e-4)
    config = [json.loads((tmp_path / f / "config.json").read_text()) for f in ("a-best", "a/best")]
    assert config[0] == config[1]

    # Once more, it tells the same, and trains nothing.
    status, again, _ = call("sweep", "--workdir", folder)
    assert status == 0 and again.splitlines() == out.splitlines()[-4:]
    status, out, _ = call("compare", folder, tmp_path / "a-best")
    assert status == 0 and "label_smoothing" not in out


def stopping(monkeypatch, at):
    """A signal comes while a batch of a step is made, of a member that is not among the first."""
    taken, sent = ShuffledEpochs.rows, []

    def rows(order, step):
        sent.append(step)
        if len(sent) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return taken(order, step)

    monkeypatch.setattr(ShuffledEpochs, "rows", rows)


def assert_as_whole(tmp_path, folder):
    """A search has come to the same as one that was not interrupted."""
    one, other = (tmp_path / f / "trace.jsonl" for f in ("whole", folder))
    assert one.read_text() == other.read_text()
    one, other = (result(tmp_path / f / "best") for f in ("whole", folder))
    assert one["params_sha256"] == other["params_sha256"]


@pytest.mark.slow
def test_a_search_that_was_stopped_resumes_exactly(call, search, tmp_path, monkeypatch):
    assert search("whole", *HALVING, *PEAK)[0] == 0
    with monkeypatch.context() as patch:
        stopping(patch, 20)
        status, out, _ = search("stopped", *HALVING, *PEAK)
    assert status == 128 + signal.SIGTERM and "saved; run again to resume" in out
    assert call("sweep", "--workdir", tmp_path / "stopped")[0] == 0
    assert_as_whole(tmp_path, "stopped")


def test_a_search_that_was_killed_goes_one_rung_again(search, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    decide, start, decided, begun = Halving._decide, Halving._start, [], []

    def started(self):
        states = start(self)
        begun.append(self.bracket.steps)
        return states

    def killed(self, *rest):
        best = decide(self, *rest)
        decided.append(self.bracket.steps)
        if len(decided) == 3:
            self._checkpoints.wait()
            raise Killed
        return best

    assert search("whole", *HALVING, *PEAK)[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(Halving, "_decide", killed)
        with pytest.raises(Killed):
            search("killed", *HALVING, *PEAK)
    with monkeypatch.context() as patch:
        patch.setattr(
            Halving, "_start", lambda self: (start(self), begun.append(self.bracket.steps))[0]
        )
        assert search("killed", *HALVING, *PEAK)[0] == 0
    assert begun == [decided[1]]
    assert_as_whole(tmp_path, "killed")


@pytest.mark.slow
def test_members_that_diverge_are_replaced(search, tmp_path):
    status = search("a", *HALVING, "--draw", "optimizer.learning_rate.peak=log:1e-3:1e38")[0]
    records = read_trace(tmp_path / "a")
    diverged = [record for record in records if record.decision == "diverged"]
    assert status == 0 and diverged and all(record.metric is None for record in diverged)
    best = json.loads((tmp_path / "a" / "search.json").read_text())["best"]
    assert np.isfinite(best["metrics"]["validation/loss"])
    assert_decided_by_the_rule(records, 2, (3, 6, 9))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--halving", 4], "nothing to search; give --draw KEY=low:high"),
        (["--draw", "model.dropout=0:1"], "needs --halving N or --trials N"),
        ([*HALVING, "--trials", 5, *PEAK], "not allowed with argument --halving"),
        ([*HALVING, "--storage", "sqlite:///a.db", *PEAK], "--storage: needs --trials N"),
        (["--halving", 0, *PEAK], "--halving: expected at least 1"),
        (["--halving", 2, *PEAK], "at least --halving 3 and 3 steps are needed"),
        (["--halving", 4, "--eta", 1, *PEAK], "--eta: expected at least 2, got 1"),
        (["--halving", 4, "--budget", 3, *PEAK], "--budget 3: is in whole runs"),
        ([*HALVING, *PEAK, *PEAK], "is drawn twice"),
        ([*HALVING, *PEAK, "--seeds", 2], "--seeds: is only for grids"),
        ([*HALVING, *PEAK, "--in-turn"], "--in-turn: is only for grids"),
        ([*HALVING, "--draw", "optimizer.momentun=0:0.9"], "did you mean 'momentum'"),
        ([*HALVING, "--draw", "model.dropout=0:0.5"], "search it with --trials"),
        ([*HALVING, "--draw", "model.hidden=(8,),(16,)"], "search it with --trials"),
        ([*HALVING, "--draw", "task.label_smoothing=0:2"], "label_smoothing must be in [0, 1)"),
        ([*HALVING, "--draw", "optimizer.learning_rate.peak=-1:1"], "expected a number above 0"),
        (
            [*HALVING, "--draw", "optimizer.weight_decay=0,0.1"],
            "it changes the structure of the optimiser's state",
        ),
        ([*HALVING, "--draw", "task.top=2:5"], "search it with --trials"),
        ([*HALVING, *PEAK, *BLOBS], "no validation split"),
        (
            [*HALVING, *PEAK, "--config.training.best.metric=test/loss"],
            "only the validation split may",
        ),
        ([*HALVING, *PEAK, "--config.training.best.metric=validation/los"], "did you mean"),
    ],
)
def test_mistakes_are_one_line_before_anything_trains(search, tmp_path, words, message):
    status, _, error = search("a", *words)
    assert status == 2 and message in error and error.count("\n") == 1, error
    assert not (tmp_path / "a" / "search.json").exists()


def test_folders_of_other_things_are_refused(call, search, tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "photo.jpg").touch()
    assert "holds 'photo.jpg'" in search("else", *HALVING, *PEAK)[2]
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "search.json").write_text('{"how": "halving"}')
    assert "has no 'config'" in call("sweep", "--workdir", tmp_path / "damaged")[2]
    assert "needs --config" in call("sweep", "--workdir", tmp_path / "none", *HALVING)[2]


def test_no_code_that_a_folder_draws_by_name_is_run(call, tmp_path, monkeypatch):
    (tmp_path / "tiny.py").write_text(CONFIG)
    (tmp_path / "mine.py").write_text("raise SystemExit('run')")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    for how in ("halving", "trials"):
        draws = ("model.name=mine:Net,mlp",)
        held = Search(how, read_config("tiny.py", ()), draws, 4, "tiny.py", (), budget=4.0)
        write(Run(tmp_path / "a"), held)
        status, _, error = call("sweep", "--workdir", "a")
        assert status == 2 and "may name code" in error and error.count("\n") == 1

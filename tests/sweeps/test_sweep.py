"""Sweeps: a grid of runs with several seeds, in one program or in turn, with the same numbers."""

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import Classification, functional, make_step
from jaxdl import config as cfg
from jaxdl.checkpointing.run_directory import SPEED
from jaxdl.data.order import ShuffledEpochs
from jaxdl.errors import UserError
from jaxdl.figures.sweep import sweep_figure
from jaxdl.json_files import write_json
from jaxdl.models.mlp import MLP
from jaxdl.overrides import override
from jaxdl.parallel.mesh import jit
from jaxdl.sweeps.population import Population
from jaxdl.sweeps.sweep import Sweep, alternatives
from jaxdl.sweeps.sweeper import Sweeper
from jaxdl.sweeps.table import printed
from jaxdl.training.build import build_experiment, read_config
from jaxdl.training.combinators import population, repeat
from jaxdl.training.measure import Measure
from jaxdl.training.step import init

CONFIG = """
from ml_collections import ConfigDict
def get_config():
    config = ConfigDict()
    config.seed = 3
    config.data = dict(source='digits', transforms=(dict(name='scale', by=1/16),))
    config.model = dict(name='mlp', outputs=10, hidden=(8,), dropout=0.2)
    config.task = dict(name='classification', classes=10)
    config.optimizer = dict(name='adam', learning_rate=dict(name='cosine', peak=1e-2, warmup=4))
    config.training = dict(batch_size=48, steps=24, ema_decay=0.9, log_every=dict(steps=1),
                           evaluate_every=dict(steps=12))
    return config
"""
GRID = ("--seeds", 2, "--config.optimizer.learning_rate.peak=0.01,0.03")
MORE = ("--seeds", 3, "--config.optimizer.learning_rate.peak=0.01,0.02,0.03")
SGD = ("--config.optimizer.name=sgd", "--config.model.hidden=()", "--config.training.steps=8")


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """What has its own tests, and takes longer than these runs: figures of each, versions."""
    monkeypatch.setattr("jaxdl.training.recorder.draw", lambda *_: None)
    monkeypatch.setattr("jaxdl.checkpointing.run_directory.environment", dict)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def sweep(call, file, tmp_path):
    """Runs a sweep of the tiny config in a folder: (exit status, stdout, stderr)."""

    def sweep(folder, *words):
        return call("sweep", "--config", file, "--workdir", tmp_path / folder, *words)

    return sweep


def history(folder):
    """What was logged, but for when."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", *SPEED)
    return [{name: line[name] for name in line if name not in timed} for line in lines]


def result(folder):
    return json.loads((folder / "result.json").read_text())


def assert_alike(one, other, rtol=1e-5):
    """Both runs have logged the same, in the same order, to rounding."""
    here, there = history(one), history(other)
    assert [list(line) for line in here] == [list(line) for line in there]
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=rtol)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1", ["0.1"]),
        ("0.1,1e-3", ["0.1", "1e-3"]),
        ("(64,),(64, 32)", ["(64,)", "(64, 32)"]),
        ("[1,2],{'a': (1, 2)}", ["[1,2]", "{'a': (1, 2)}"]),
        ("adam,sgd", ["adam", "sgd"]),
        ("'a,b',c", ["a,b", "c"]),
        ("('^fc/', {}),('.*', None)", ["('^fc/', {})", "('.*', None)"]),
        ("don't,do", ["don't", "do"]),
        ("{'a': '}, x'},1", ["{'a': '}, x'}", "1"]),
        ("", [""]),
    ],
)
def test_commas_outside_brackets_and_quotes_separate(text, values):
    assert alternatives(text, "--config.x") == values


@pytest.mark.parametrize("text", ["1,,2", "1,", "(1,2", "'a,b"])
def test_what_is_no_list_of_values_is_refused(text):
    with pytest.raises(UserError, match=r"^--config\.x: .*(empty|closing)"):
        alternatives(text, "--config.x")


def swept(*overrides, seeds=1):
    def read(given):
        config = {"optimizer": {}}
        for item in given:
            key, _, text = item.partition("=")
            config["optimizer"][key.rpartition(".")[2]] = text
        return config

    return Sweep.of(read, overrides, seeds)


def test_places_are_safe_and_differ():
    sweep = swept("optimizer.a=x/y,x:y,../z", "optimizer.b=1,2", "optimizer.c=5", seeds=2)
    places = [member.place for member in sweep.members]
    assert len(set(places)) == len(places) == 12
    assert all(place.count("/") == 2 and ".." not in place for place in places)
    assert swept("optimizer.b=1,2").members[1].place == "b=2/seed=0"
    assert swept("optimizer.b=1").members[0].place == "seed=0"
    assert [m.config["seed"] for m in swept(seeds=3).members] == [0, 1, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", 0], "--seeds: expected at least 1, got 0"),
        (["--config.seed=1,2"], "how many with --seeds"),
        (["--config.seed=abc"], "config.seed: expected 0 to 2³²"),
        (["--config.optimizer.learning_rate=0.1,1e-1"], "learning_rate=0.1 twice"),
        (["--config.optimizer.b1=0.1,", "--config.seed=1"], "empty value"),
        (["--config.optimizer.b1=0.1", "--config.optimizer.b1=0.2"], "given twice"),
        (["--config.optimizer.learning_rate=0.1,abc"], "expected a number"),
        (["--config.optimizer.learning_rat=0.1,0.2"], "did you mean 'learning_rate'"),
        (["--config.model.hidden=(8,),wide"], "config.model.hidden: expected"),
    ],
)
def test_mistakes_are_one_line_before_anything_trains(sweep, tmp_path, words, message):
    status, _, error = sweep("a", *words)
    assert status == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "a" / "sweep.json").exists()


def test_folders_of_other_things_are_refused(call, sweep, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    assert "holds a run, not a sweep" in sweep("run")[2]
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "photo.jpg").touch()
    assert "holds 'photo.jpg'" in sweep("else")[2]
    assert "give --config" in call("sweep", "--workdir", tmp_path / "none")[2]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_population_steps_as_each_member_alone(one_by_one):
    model, task = functional(MLP(outputs=3, hidden=(4,))), Classification(classes=3, input="x")
    optimizer = optax.sgd(0.1)
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(5, 2, 6, 4)).astype(np.float32), rng.integers(0, 3, (5, 2, 6))
    batches = {"x": jnp.asarray(x), "label": jnp.asarray(label)}
    step = make_step(model, task, optimizer)
    states = jax.vmap(lambda s: init(model, task, optimizer, {"x": batches["x"][0, 0]}, s))(
        jnp.arange(2)
    )
    together, summaries = jax.jit(repeat(population(step, one_by_one)))(states, batches)
    for i in range(2):
        alone = jax.tree.map(lambda leaf, i=i: leaf[i], states)
        mine = {name: column[:, i] for name, column in batches.items()}
        alone, summary = jax.jit(repeat(step))(alone, mine)
        np.testing.assert_allclose(summaries["loss"][:, i], summary["loss"], rtol=1e-5)
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-7),
            together,
            alone,
        )


def stopping(monkeypatch, at):
    """A signal comes while a batch of a step is made."""
    taken, sent = ShuffledEpochs.rows, []

    def rows(order, step):
        if step == at and not sent:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return taken(order, step)

    monkeypatch.setattr(ShuffledEpochs, "rows", rows)


def test_together_alone_and_interrupted_are_the_same(call, sweep, file, tmp_path, monkeypatch):
    status, out, _ = sweep("together", *GRID)
    assert status == 0 and "4 runs: 4 in one program" in out
    place, words = "peak=0.03/seed=4", ("--config.seed=4", GRID[2].partition("=")[0] + "=0.03")
    assert call("train", "--config", file, "--workdir", tmp_path / "alone", *words)[0] == 0
    assert_alike(tmp_path / "together" / place, tmp_path / "alone")
    assert list(result(tmp_path / "together" / place)) == list(result(tmp_path / "alone"))
    with monkeypatch.context() as patch:
        stopping(patch, 17)
        status, out, _ = sweep("killed", *GRID)
    assert status == 128 + signal.SIGTERM and "saved; run again to resume" in out
    status, _, error = sweep("killed", *MORE)
    assert status == 2 and "half-way in one program" in error
    status, out, _ = call("sweep", "--workdir", tmp_path / "killed")
    assert status == 0 and "resumed at step" in out

    table = json.loads((tmp_path / "together" / "sweep.json").read_text())["table"]
    for peak, row in zip((0.01, 0.03), table, strict=True):
        places = [f"peak={peak}/seed={seed}" for seed in (3, 4)]
        for place in places:
            assert_alike(tmp_path / "together" / place, tmp_path / "killed" / place, rtol=0)
            here, there = (result(tmp_path / f / place) for f in ("together", "killed"))
            assert here["params_sha256"] == there["params_sha256"]
        found = [result(tmp_path / "together" / p)["metrics"]["test/loss"] for p in places]
        assert row["metrics"]["test/loss"]["mean"] == pytest.approx(np.mean(found))
        assert row["metrics"]["test/loss"]["std"] == pytest.approx(np.std(found, ddof=1))
    assert not (tmp_path / "killed" / "together").exists()
    assert (tmp_path / "killed" / "figures" / "sweep.png").stat().st_size > 1000

    member = tmp_path / "together" / "peak=0.01" / "seed=4"
    status, out, _ = call("evaluate", "--workdir", member)
    assert status == 0 and f"{result(member)['metrics']['test/loss']:.6g}" in out
    before = (member / "result.json").read_bytes()
    assert "4 runs: 4 already finished" in sweep("together", *GRID)[1]
    assert (member / "result.json").read_bytes() == before
    for words, change in (
        (("--seeds", 1, GRID[2]), "sweep.seeds: 2 -> 1"),
        ((*GRID[:2], "--config.optimizer.learning_rate.peak=0.01,0.1"), "peak=0.03 -> "),
        ((*GRID, "--config.optimizer.b1=0.8"), "config.optimizer.b1: 0.9 -> 0.8"),
    ):
        status, _, error = sweep("together", *words)
        assert status == 2 and change.split(" -> ")[0] in error and error.count("\n") == 1


@pytest.mark.slow
def test_runs_are_added_to_a_sweep(call, sweep, file, tmp_path):
    assert sweep("a", *GRID)[0] == 0
    before = (tmp_path / "a" / "peak=0.01" / "seed=4" / "result.json").read_bytes()
    status, out, _ = sweep("a", *MORE)
    assert status == 0 and "9 runs: 4 already finished, 5 in one program" in out
    assert (tmp_path / "a" / "peak=0.01" / "seed=4" / "result.json").read_bytes() == before
    table = json.loads((tmp_path / "a" / "sweep.json").read_text())["table"]
    assert [(row["point"], row["runs"]) for row in table] == [
        *(("peak=0.01", 3), ("peak=0.02", 3), ("peak=0.03", 3)),
    ]
    words = ("--config.seed=5", GRID[2].partition("=")[0] + "=0.03")
    assert call("train", "--config", file, "--workdir", tmp_path / "alone", *words)[0] == 0
    assert_alike(tmp_path / "a" / "peak=0.03" / "seed=5", tmp_path / "alone")
    status, _, error = sweep("a", *GRID)
    assert status == 2 and "sweep.seeds: 3 -> 2" in error  # runs are added, not taken away


def test_a_run_that_diverges_stops_no_other(call, sweep, tmp_path):
    rates = "--config.optimizer.learning_rate=1e38,0.05"
    status, out, _ = sweep("a", *SGD, rates)
    assert status == 0 and "1e+38/seed=3 has diverged: step 2: not finite" in out
    assert "0 (1 diverged)" in out and "nan" in out
    good = tmp_path / "a" / "learning_rate=0.05" / "seed=3"
    assert np.isfinite(result(good)["metrics"]["test/loss"])
    assert not (tmp_path / "a" / "learning_rate=1e+38" / "seed=3" / "result.json").exists()
    status, again, _ = call("sweep", "--workdir", tmp_path / "a")
    assert status == 0 and "2 runs: 2 already finished" in again and "step 1" not in again


@pytest.mark.parametrize("how", ["--together", pytest.param("--in-turn", marks=pytest.mark.slow)])
def test_where_all_diverge_the_status_says_so(sweep, tmp_path, how):
    rate = "--config.optimizer.learning_rate=1e38"
    status, out, error = sweep("a", *SGD, "--seeds", 2, rate, how)
    assert status == 2 and "0 (2 diverged)" in out and "every run has diverged" in error
    assert out.count("has diverged: step 2: not finite") == 2
    assert not (tmp_path / "a" / "together").exists()
    # Runs that finish, and measure nothing, have not diverged.
    status, out, error = sweep("b", *SGD, "--config.training.evaluate=()", how)
    assert status == 2 and "nothing was evaluated" in error


def test_runs_of_unlike_shapes_are_told_apart(file, tmp_path):
    words = ["model.hidden=(4,),(5,)", "training.steps=8,9", "optimizer.learning_rate=0.1,0.2,0.3"]
    given = Sweep.of(lambda overrides: override(cfg.read(str(file)), overrides), words, 2)
    told = []
    groups = Sweeper(str(tmp_path / "a"), given, say=told.append)._groups()
    assert told == ["24 runs: 24 in 4 programs"]
    assert [len(group) for group, population in groups if population] == [6, 6, 6, 6]
    alone = Sweep.of(lambda overrides: override(cfg.read(str(file)), overrides), words[:1], 1)
    sweeper = Sweeper(str(tmp_path / "a"), alone, say=told.append)
    assert [population for _, population in sweeper._groups()] == [None, None]
    assert told[-1] == "2 runs: 2 in turn (no other differs only in seed and learning rate)"


def populated(**changes):
    config = {
        "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
        "model": {"name": "mlp", "outputs": 10, "hidden": (8,)},
        "task": {"name": "classification", "classes": 10},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "training": {"batch_size": 48, "steps": 8},
        **changes,
    }
    return Population(build_experiment(config), [config, {**config, "seed": 1}])


def test_what_cannot_or_need_not_train_together_is_told():
    assert populated().obstacle() is None and populated().slow() is None
    streamed = populated(training={"batch_size": 48, "steps": 8, "on_device": False})
    assert "not on the device" in streamed.obstacle()
    assert "sharded" in populated(placement="fsdp").obstacle()
    large = populated(model={"name": "mlp", "outputs": 10, "hidden": (4000,)})
    assert large.obstacle() is None and "300,010 parameters" in large.slow()
    cnn = {"name": "mnist_cnn", "widths": (2,), "kernels": (3,), "strides": (1,), "dense": 4}
    if jax.default_backend() == "cpu":
        assert "convolutions" in populated(model=cnn).slow()


@pytest.mark.parametrize("name", ["adam", "adamw", "rprop", "lars", "adafactor"])
def test_learning_rates_are_traced_by_any_optimiser(name):
    rates = (0.1, 0.2) if name != "adamw" else ({"name": "linear", "peak": 0.1}, 0.2)[:1] * 2
    base = populated(optimizer={"name": name, "learning_rate": rates[0]}).experiment.config
    other = {**base, "seed": 1, "optimizer": {"name": name, "learning_rate": rates[1]}}
    assert Population(build_experiment(base), [base, other]).obstacle() is None


def test_members_freeze_clip_and_drop_as_they_do_alone():
    """A head's step is as long as its rate times `clip_norm`, whatever its frozen trunk's slope."""
    groups = (("^Dense_1/", {}), (".*", None))
    rate = {"name": "stepwise", "warmup": 2, "drops": (3,)}
    configs = [
        {
            "seed": seed,
            "optimizer": {
                "name": "sgd",
                "learning_rate": {**rate, "peak": peak},
                "clip_norm": 0.01,
                "groups": groups,
            },
        }
        for seed, peak in ((0, 0.4), (1, 0.8))
    ]
    training = {"batch_size": 48, "steps": 8, "ema_decay": 0.9}
    base = populated(**configs[0], training=training).experiment
    together = Population(base, [{**base.config, **config} for config in configs])
    columns = dict(base.splits["train"].columns)
    rows = [[member.order.rows(i) for member in together.members] for i in range(4)]
    start = jit(together.initial, once=True)(together.carried)
    end, _ = jit(together.run_steps, once=True)(start, together.carried, columns, np.stack(rows), 4)
    for i, (member, peak) in enumerate(zip(together.members, (0.4, 0.8), strict=True)):
        state = jit(member.initial, once=True)(np.uint32(i))
        step, frozen = jit(member.run_steps, once=True), state.params["Dense_0"]
        for t, rate in enumerate((0.5 * peak, peak, peak, 0.1 * peak)):
            before, given = state.params, np.stack([rows[t][i]])
            state, _ = step(state, columns, given, 1)
            moved = optax.tree.norm(jax.tree.map(jnp.subtract, state.params, before))
            np.testing.assert_allclose(moved, rate * 0.01, rtol=1e-3)
        for tree in (state.params, state.ema):
            jax.tree.map(np.testing.assert_array_equal, tree["Dense_0"], frozen)
        jax.tree.map(
            lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-5, atol=1e-7),
            (end.params, end.ema),
            (state.params, state.ema),
        )


@pytest.mark.slow
def test_members_spread_over_devices_are_the_same(call, sweep, file, tmp_path):
    assert sweep("one", "--seeds", 4, "--config.training.steps=12")[0] == 0
    command = [sys.executable, "-m", "jaxdl", "sweep", "--config", file, "--workdir", "many"]
    command += ["--seeds", "4", "--config.training.steps=12"]
    many = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    many["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(command, cwd=tmp_path, env=many, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "4 runs in one program" in done.stdout
    for seed in range(3, 7):
        assert_alike(tmp_path / "one" / f"seed={seed}", tmp_path / "many" / f"seed={seed}")


def test_the_table_and_the_figure_take_points_without_runs():
    def row(rate, width, values):
        found = {"mean": float(np.mean(values)), "std": 0.1, "values": values} if values else None
        return {
            "point": f"rate={rate}/width={width}",
            "values": {"optimizer.rate": rate, "model.width": width},
            "runs": len(values),
            "diverged": 2 - len(values),
            "metrics": {"test/loss": found} if found else {},
        }

    table = [
        row(r, w, [r, 2 * r] if r < 1 else []) for r in (0.01, 0.1, 1.0) for w in ((8,), (16,))
    ]
    lines = printed([{**r} for r in table], ["test/loss"])
    assert "nan" in lines[-2] and "0 (2 diverged)" in lines[-2]
    figure = sweep_figure(table)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "test/loss"
    assert [text.get_text() for text in axes.get_legend().texts] == ["width (8,)", "width (16,)"]


@pytest.mark.parametrize(
    ("saved", "reason"),
    [
        ({"points": {"../out": {}}, "values": {"../out": {}}, "seeds": 1}, "'../out'"),
        ({"points": {"/out": {}}, "values": {"/out": {}}, "seeds": 1}, "'/out'"),
        ({"points": {"a": {}}, "values": {}, "seeds": 1}, "'a'"),
        ({"points": {"a": {"seed": "x"}}, "values": {"a": {}}, "seeds": 1}, "'x'"),
        ({"points": {"a": {}}, "values": {"a": {}}, "seeds": 10**12}, "seeds"),
        ({"points": {"a": {}}, "values": {"a": {}}, "seeds": 0}, "seeds"),
        ({"points": {}, "values": {}, "seeds": 1}, "no points"),
        ({"points": [], "values": {}, "seeds": 1}, "points"),
        ({"points": {"a": {}}, "values": {"a": {}}, "seeds": 1, "diverged": []}, "diverged"),
    ],
)
def test_a_damaged_sweep_is_refused(tmp_path, saved, reason):
    (tmp_path / "sweep.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"sweep\.json: .*restore it") as caught:
        Sweeper(str(tmp_path), None)
    assert reason in str(caught.value)


PLACES = [
    "sweep.json",
    "lock",
    "figures",
    "together",
    "together/0",
    "peak=0.01",
    "peak=0.03/seed=4",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_sweep_writes_nothing_outside_its_folder(sweep, tmp_path, place):
    outside, path = tmp_path / "outside", tmp_path / "a" / place
    outside.mkdir()
    path.parent.mkdir(parents=True)
    path.symlink_to(outside)
    if place != "sweep.json":
        read = functools.partial(read_config, str(tmp_path / "tiny.py"))
        claimed = Sweep.of(read, [GRID[2].removeprefix("--config.")], 2).to_json()
        write_json(tmp_path / "a" / "sweep.json", claimed)
    status, _, err = sweep("a", *GRID, "--together")
    assert status == 2 and f"'{path.name}' is a symbolic link" in err and err.count("\n") == 1
    assert not list(outside.iterdir())


def test_a_sweep_is_not_written_on_where_the_lock_of_a_run_is_lost(sweep, tmp_path, monkeypatch):
    lock, measured = tmp_path / "a" / "peak=0.01" / "seed=4" / "lock", Measure.__call__

    def lose(*args):
        lock.unlink(missing_ok=True)
        return measured(*args)

    monkeypatch.setattr(Measure, "__call__", lose)
    status, _, err = sweep("a", *GRID, "--together")
    assert status == 2 and f"{lock}: was deleted or replaced" in err
    assert not list((tmp_path / "a").rglob("result.json"))

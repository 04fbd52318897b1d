"""How fast a run trains, and the trace of some of its steps."""

import jax
import jax.numpy as jnp
import pytest

from jaxdl.checkpointing.run_directory import Run
from jaxdl.chips import CHIPS
from jaxdl.parallel.mesh import Devices
from jaxdl.training.profile import Profile
from jaxdl.training.speed import Arithmetic, Speed
from jaxdl.training.start import train_config

CONFIG = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "mlp", "outputs": 10, "hidden": ()},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "training": {"batch_size": 50, "steps": 12, "evaluate_every": {"steps": 6}},
}
DEVICES = Devices.of(1, "replicated", "jit")


def lowered(n):
    """`n` products of (8, 16) and (16, 16), in a loop: 4,096 operations each."""

    def program(x, w):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, length=n)[0]

    return jax.jit(program).lower(jnp.zeros((8, 16)), jnp.zeros((16, 16)))


def test_loops_count_as_often_as_they_run():
    arithmetic = Arithmetic.of(lowered(5), DEVICES)
    assert arithmetic.flops == {"f32": 5 * 2 * 8 * 16 * 16}
    assert arithmetic.rates(10.0) == {"flops_per_second": 204_800}  # a CPU has no share of a peak


def test_the_share_of_the_peak_is_by_type_and_over_all_devices():
    h100 = CHIPS["h100"]
    arithmetic = Arithmetic({"bf16": 989e12, "f32": 495e12}, 4, h100)
    rates = arithmetic.rates(0.5)  # a step takes 2 s here, and at the peak of four chips 0.5 s
    assert rates["mfu"] == pytest.approx(0.25)
    assert rates["flops_per_second"] == pytest.approx(742e12)


def test_what_a_library_computes_is_not_guessed_at():
    class Hidden:
        def compiler_ir(self, dialect):
            return self

        def as_hlo_text(self):
            return 'y = f32[8] custom-call(x), custom_call_target="cudnn_rnn"'

    assert Arithmetic.of(Hidden(), DEVICES) is None


def test_rates_are_those_since_the_last_evaluation():
    speed = Speed(batch_size=10)
    speed.restart(100)
    assert speed.since(120, 2.0, 0.5) == {"examples_per_second": 100, "data_wait_share": 0.25}
    assert speed.since(160, 4.0, 0.5) == {"examples_per_second": 200, "data_wait_share": 0.0}
    assert speed.since(160, 4.0, 0.5) == {}


def test_steps_are_traced_and_training_is_the_same(tmp_path, refuses):
    plain = train_config(CONFIG, Run(tmp_path / "plain"))
    run = Run(tmp_path / "run")
    result = train_config(CONFIG, run, profile=(3, 2))
    assert result["params_sha256"] == plain["params_sha256"]
    (trace,) = run.folder.glob("plugins/profile/*/*.xplane.pb")
    assert trace.stat().st_size > 1000
    lines = [line for line in run.history() if "test/loss" in line]
    assert [line["step"] for line in lines] == [6, 12]
    assert all(line["examples_per_second"] > 0 for line in lines)
    assert all(0 <= line["data_wait_share"] <= 1 for line in lines)
    assert all("mfu" not in line for line in lines)
    with refuses("--profile", "has already finished"):
        train_config(CONFIG, run, profile=(3, 2))


def test_steps_that_will_not_be_made_are_refused(tmp_path, refuses):
    profile = Profile(10, 5, tmp_path)
    with refuses("--profile 10:5: the run is already at step 11"):
        profile.check(11, 100)
    with refuses("--profile 10:5: the run has 14 steps"):
        profile.check(0, 14)
    to_event = profile.limit(lambda step: 8)
    assert [to_event(step) for step in (0, 5, 10, 12, 15)] == [8, 5, 5, 3, 8]

"""Checkpoints: whole or not at all, and never trusted unseen; see also `test_damage.py`."""

import json
import logging
import shutil
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.checkpointing.checkpoints import Checkpoints
from jaxdl.checkpointing.manifest import verify
from jaxdl.errors import UserError

STATE = {
    "step": jnp.int32(0),
    "params": {"w": jnp.arange(6.0).reshape(2, 3) / 7, "half": jnp.ones(2, jnp.bfloat16)},
    "ema": None,
}


def state(step):
    return {**STATE, "step": jnp.int32(step)}


def like(tree=STATE):
    return jax.eval_shape(lambda: tree)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Steps 1 and 2, and the files of a checkpoint."""
    folder = tmp_path_factory.mktemp("written") / "checkpoints"
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(step, state(step), {"wall_seconds": 1.5})
    checkpoints.wait()
    assert not checkpoints.overdue()
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "checkpoints")


def test_what_is_restored_is_what_was_saved(written):
    restored, notes = Checkpoints(written).restore(like())
    assert jax.tree.structure(restored) == jax.tree.structure(STATE)
    jax.tree.map(np.testing.assert_array_equal, restored, state(2))
    assert notes == {"wall_seconds": 1.5} and restored["params"]["half"].dtype == jnp.bfloat16


def test_what_was_learnt_is_read_without_knowing_what_it_is(folder):
    found = Checkpoints(folder).read()
    assert found["ema"] is None and int(found["step"]) == 2
    jax.tree.map(np.testing.assert_array_equal, found["params"], STATE["params"])
    assert found["params"]["half"].dtype == jnp.bfloat16
    shutil.rmtree(folder / "2" / "state")
    assert int(Checkpoints(folder).read()["step"]) == 1
    with pytest.raises(UserError, match="no checkpoint yet; run `jaxdl train` first"):
        Checkpoints(folder / "none").read()


def test_double_precision_is_kept(tmp_path):
    with jax.enable_x64(True):
        double = {"w": jnp.asarray([1 / 3, 1e300])}
        checkpoints = Checkpoints(tmp_path)
        checkpoints.save(1, double)
        checkpoints.wait()
        np.testing.assert_array_equal(checkpoints.restore(like(double))[0]["w"], double["w"])


def test_a_narrow_average_of_before_is_restored_as_averages_are_kept_today(tmp_path):
    """jaxdl 0.1 kept the average in the type of the parameters."""
    half = jnp.asarray([1 / 3, 5], jnp.bfloat16)
    saved = {"params": {"w": half}, "ema": {"w": half, "v": half.astype(jnp.float16)}}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, saved)
    checkpoints.wait()
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), saved["ema"])
    restored, _ = checkpoints.restore(like({**saved, "ema": wide}))
    jax.tree.map(np.testing.assert_array_equal, restored, {**saved, "ema": wide})
    assert {x.dtype.name for x in jax.tree.leaves(restored["ema"])} == {"float32"}
    with pytest.raises(UserError, match=r"params/w is bfloat16\[2\], expected float32\[2\]"):
        checkpoints.restore(like({"params": {"w": jnp.ones(2)}, "ema": wide}))


def test_nothing_saved_is_nothing_restored(tmp_path):
    assert Checkpoints(tmp_path / "none").restore(like()) is None
    (tmp_path / "partial-3").mkdir()
    assert Checkpoints(tmp_path).restore(like()) is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:-1]), "contents.json is damaged"),
        (lambda f: f.write_bytes(b""), "contents.json is damaged"),
        (lambda f: f.unlink(), "contents.json is missing"),
        (lambda f: (f.parent / "extra").touch(), "extra does not belong to it"),
        (lambda f: (f.parent / "state" / "manifest.json").touch(), "manifest.json does not belong"),
        (lambda f: (f.parent / "manifest.json").unlink(), "no readable manifest.json"),
        (lambda f: (f.parent / "manifest.json").write_text("[]"), "no readable manifest.json"),
        (lambda f: (f.parent / "manifest.json").write_bytes(b"\xff"), "no readable manifest.json"),
        (
            lambda f: shutil.copy(f.parents[1] / "1" / "manifest.json", f.parent),
            "belongs to another",
        ),
    ],
)
def test_damage_is_named(folder, damage, message):
    damage(folder / "2" / "contents.json")
    assert message in verify(folder / "2")
    assert Checkpoints(folder).restore(like())[0]["step"] == 1


def test_when_none_is_sound_the_run_stops_and_nothing_is_deleted(folder):
    for step in ("1", "2"):
        (folder / step / "contents.json").write_text("{}")
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match="all 2 checkpoints are damaged; nothing was deleted"):
        Checkpoints(folder).restore(like())
    assert sorted(folder.rglob("*")) == before


def test_training_past_a_damaged_checkpoint_replaces_it(folder):
    (folder / "2" / "contents.json").write_text("{}")
    checkpoints = Checkpoints(folder, keep=1)
    restored, _ = checkpoints.restore(like())
    checkpoints.save(1, restored)  # there already
    assert names(folder) == ["1", "2"]
    checkpoints.save(2, state(2), {"again": True})
    checkpoints.wait()
    assert names(folder) == ["2", "damaged-2"]
    assert Checkpoints(folder).restore(like())[1] == {"again": True}


def test_a_sound_checkpoint_of_an_earlier_start_is_not_written_again(folder):
    again = Checkpoints(folder)
    again.save(2, state(7))
    again.wait()
    assert names(folder) == ["1", "2"] and int(again.read()["step"]) == 2


def test_a_damaged_checkpoint_never_outlives_a_sound_one(folder):
    shutil.move(folder / "2", folder / "9")  # its manifest is then of another
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.restore(like())
    checkpoints.save(5, state(5))
    checkpoints.wait()
    assert Checkpoints(folder).steps() == [5] and Checkpoints(folder).restore(like())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"params": {"w": jnp.zeros((3, 2)), "half": STATE["params"]["half"]}},
         r"params/w is float32\[2, 3\], expected float32\[3, 2\]"),
        ({"params": {"w": jnp.zeros((2, 3)), "half": jnp.ones(2)}},
         r"params/half is bfloat16\[2\], expected float32\[2\]"),
        ({"ema": jnp.zeros(1)}, r"ema is absent, expected float32\[1\]"),
        ({"params": {"w": STATE["params"]["w"]}}, r"params/half is bfloat16\[2\], expected absent"),
    ],
)  # fmt: skip
def test_another_structure_is_one_line(written, other, message):
    with pytest.raises(UserError, match=message) as error:
        Checkpoints(written).restore(like({**STATE, **other}))
    assert "\n" not in str(error.value)


def test_the_newest_are_kept_and_what_a_kill_left_is_cleared(tmp_path):
    (tmp_path / "partial-1").mkdir()
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (3, 20, 100):
        checkpoints.save(step, state(step))
        checkpoints.wait()
        assert verify(tmp_path / str(step)) is None
    assert names(tmp_path) == ["100", "20"] and checkpoints.steps() == [20, 100]
    with pytest.raises(UserError, match=r"config.training.keep: expected at least 1"):
        Checkpoints(tmp_path, keep=0)


def test_the_state_may_change_as_soon_as_save_returns(tmp_path):
    checkpoints, w = Checkpoints(tmp_path), jnp.ones(1000)
    checkpoints.save(1, {"w": w})
    w.delete()  # as donation does
    checkpoints.wait()
    assert checkpoints.restore(like({"w": jnp.ones(1000)}))[0]["w"].sum() == 1000


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a\nb")])
def test_an_error_of_saving_surfaces_and_leaves_nothing_visible(tmp_path, monkeypatch, error):
    def fails(folder):
        raise error

    monkeypatch.setattr("jaxdl.checkpointing.checkpoints.digests", fails)
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, state(1))
    with pytest.raises(UserError, match=r"cannot save a checkpoint .*; make room") as raised:
        checkpoints.save(2, state(2))
    assert "\n" not in str(raised.value) and checkpoints.steps() == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "c").write_text("a file")
    with pytest.raises(UserError, match="cannot save a checkpoint"):
        Checkpoints(tmp_path / "c").save(1, state(1))


def test_the_manifest_is_plain_json(written):
    manifest = json.loads((written / "2" / "manifest.json").read_text())
    assert manifest["step"] == 2 and "contents.json" in manifest["sha256"]


def test_what_is_left_of_a_failed_save_says_nothing_beside_the_error(tmp_path, caplog, monkeypatch):
    """Each line is what Orbax, asyncio and TensorStore leave behind where a disk is full."""
    unraised = []
    monkeypatch.setattr("sys.unraisablehook", unraised.append)
    Checkpoints(tmp_path).save(1, state(1))
    asyncio_log, absl_log = logging.getLogger("asyncio"), logging.getLogger("absl")
    with caplog.at_level(logging.ERROR):
        asyncio_log.error("Task exception was never retrieved: <Task … /orbax/a.py:126>")
        asyncio_log.error("never retrieved: <Future … 'a/state.orbax-checkpoint-tmp/…'>")
        asyncio_log.error("of a user's own")
        absl_log.error("of a user's own", exc_info=ValueError("x"))
    for text in ("Event loop is closed", "of a user's own"):
        sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError(text)))
    assert {record.getMessage() for record in caplog.records} == {"of a user's own"}
    assert len(caplog.records) == 2 and len(unraised) == 1

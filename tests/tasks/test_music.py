"""The task `music`: its likelihoods against a plain loop, and a run that carries its state."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdl
from jaxdl.data.sources.piano_rolls import twin_piano_rolls
from jaxdl.errors import UserError
from jaxdl.metrics import means, total
from jaxdl.models import PianoRollModel, functional
from jaxdl.tasks import Music

TINY = ("--config.model.hidden=32", "--config.model.dropout=0", "--config.figures=('piano_roll',)")


def batch(rows=5, window=None):
    table = twin_piano_rolls(window)["train"]
    return table, table[np.arange(rows)]


def logits_of(batch, seed=0):
    size, time, keys = batch["keys"].shape
    return np.random.default_rng(seed).normal(size=(size, time - 1, keys)).astype(np.float32)


def reported(outputs, batch):
    task = Music()
    mask = jnp.ones(len(outputs), bool)
    columns = jax.tree.map(jnp.asarray, batch)
    sums = {name: total(m, mask) for name, m in task.metrics(outputs, columns).items()}
    return {name: float(mean) for name, mean in means(sums).items()}


@pytest.mark.parametrize("window", [None, 10])
def test_likelihoods_are_those_of_each_frame(window):
    task, (_, columns) = Music(), batch(window=window)
    logits = logits_of(columns)
    of_frame, after_first, of_row = [], [], []
    for row, length in enumerate(columns["length"]):
        p = 1 / (1 + np.exp(-logits[row, :length].astype(float)))
        played = columns["keys"][row, 1 : 1 + length]
        nll = -np.log(np.where(played, p, 1 - p)).sum(axis=1)
        of_frame += [*nll]
        after_first += [*nll[int(columns["begins"][row]) :]]
        of_row.append(nll.sum())
    arrays = jax.tree.map(jnp.asarray, (logits, columns))
    np.testing.assert_allclose(task.loss(*arrays), of_row, rtol=1e-5)
    np.testing.assert_array_equal(task.weight(arrays[1]), columns["length"])
    got = reported(arrays[0], columns)
    assert got["loss"] == pytest.approx(np.mean(of_frame), rel=1e-5)
    assert got["nll"] == pytest.approx(np.mean(after_first), rel=1e-5)


def test_padding_touches_nothing():
    task, (_, columns) = Music(), batch()
    logits = logits_of(columns)
    after = np.arange(logits.shape[1]) >= columns["length"][:, None]
    assert after.any()
    louder = np.where(after[..., None], 1e6, logits).astype(np.float32)
    said = [reported(jnp.asarray(x), columns) for x in (louder, logits)]
    assert said[0] == said[1]
    gradient = jax.grad(lambda x: task.loss(x, jax.tree.map(jnp.asarray, columns)).sum())(
        jnp.asarray(logits)
    )
    assert not np.asarray(gradient)[after].any()


def test_a_model_looks_at_no_later_frame():
    columns = jax.tree.map(jnp.asarray, batch(2)[1])
    (frames,) = Music().inputs(columns)
    model = functional(PianoRollModel(hidden=8, layers=2))
    params, state = model.init(jax.random.key(0), (frames,))
    one = model.apply(params, state, (frames,), None, False)[0]
    later = frames.at[:, 12:].set(1 - frames[:, 12:])
    other = model.apply(params, state, (later,), None, False)[0]
    np.testing.assert_array_equal(one[:, :12], other[:, :12])
    assert (np.asarray(one[:, 12]) != other[:, 12]).any()
    # In pieces, with a carry, it says the same.
    carry, said = model.initialize_carry(params, state, 2), []
    for piece in jnp.split(frames, [5, 6, 20], axis=1):
        outputs, carry = model.decode(params, state, carry, piece, None, False)
        said.append(outputs)
    np.testing.assert_allclose(np.concatenate(said, 1), one, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_windows_with_a_carry_are_evaluated_as_whole_pieces(call, tmp_path):
    """The same weights: no state is lost between windows, and none goes into the next piece."""
    common = ("--config", "music_lstm", "--config.data.twin=true", *TINY)
    windows = ("--config.data.window=10", "--config.training.carry=true",
               "--config.training.eval_batch_size=1", "--config.training.batch_size=4")  # fmt: skip
    short = "--config.training.steps=20"
    assert call("train", *common, *windows, short, "--workdir", tmp_path / "a")[::2] == (0, "")
    run = jaxdl.load(tmp_path / "a")
    whole = twin_piano_rolls()["test"]
    task, model = run.parts.task, run.parts.model
    columns = jax.tree.map(jnp.asarray, whole[np.arange(len(whole))])
    outputs, _ = model.apply(run.params, {}, task.inputs(columns), None, False)
    got, metrics = reported(outputs, columns), run.metrics
    assert metrics["test/nll"] == pytest.approx(got["nll"], rel=1e-5)
    assert metrics["test/loss"] == pytest.approx(got["loss"], rel=1e-5)


def test_a_run_learns_and_writes_music(call, tmp_path):
    workdir, steps = tmp_path / "run", "--config.training.steps=100"
    status, _, err = call(
        "train", "--config", "music_lstm", "--config.data.twin=true", *TINY, steps,
        "--config.optimizer.learning_rate.peak=0.03", "--workdir", workdir,
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert (workdir / "figures" / "piano_roll.png").stat().st_size > 10_000
    result = json.loads((workdir / "result.json").read_text())["metrics"]
    test = twin_piano_rolls()["test"].columns
    p = test["keys"].sum((0, 1)) / test["length"].sum()  # how often each key sounds: no model
    blind = -(p * np.log(p + 1e-9) + (1 - p) * np.log(1 - p)).sum()
    assert result["test/nll"] < 0.9 * blind

    sample = ("sample", "--workdir", workdir, "--length", "20")
    status, text, err = call(*sample, "--output", tmp_path / "a.mid")
    assert (status, err) == (0, "") and text.count("\n") == 20
    assert (tmp_path / "a.mid").read_bytes().startswith(b"MThd")
    assert call(*sample)[1] == text and call(*sample, "--seed", "1")[1] != text
    prompt = "C3 G3 E4 C5, C3 G3 E4 C5"
    status, text, _ = call(*sample, "--prompt", prompt, "--output", tmp_path / "a.txt")
    assert status == 0 and text.startswith(f"{prompt}\n") and text.count("\n") == 21
    assert (tmp_path / "a.txt").read_text() == text
    run = jaxdl.load(workdir)
    assert f"{prompt}{run.generate(prompt, length=20)}\n" == text
    assert run.generate(temperature=0, length=4) == run.generate(temperature=0, length=4, seed=1)

    for words, message in {
        ("--prompt", "H3"): "prompt: 'H3' is not a key of the piano",
        ("--top-k", "3"): "top-k and top-p: are for tokens",
        ("--top-p", "0.5"): "top-k and top-p: are for tokens",
        ("--beam", "2"): "beam: sequences of this model have no end",
        ("--temperature", "-1"): "temperature: expected a number from 0",
        ("--input", "C3"): "input: this model answers to nothing",
        ("--output", str(tmp_path / "a.mid")): "exists; choose another, or overwrite it",
    }.items():
        status, out, err = call(*sample, *words)
        assert (status, out) == (2, "") and message in err and err.count("\n") == 1


def test_other_data_is_refused(call, tmp_path):
    data = ("--config.data.source=digits", "--config.data.twin=false", "--config.figures=()")
    status, _, err = call("check", "--config", "music_lstm", *data)
    assert status == 2 and "The task 'music' needs the source 'piano_rolls'" in err
    with pytest.raises(UserError, match=r"seconds must be in \[0.001, 10\], got 0"):
        Music(seconds=0)

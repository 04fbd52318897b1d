"""Classification against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.metrics import means, merge, total
from jaxdl.tasks import Classification, Task


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def report(task, outputs, batch):
    mask = jnp.ones(len(outputs), bool)
    found = {name: total(m, mask) for name, m in task.metrics(outputs, batch).items()}
    return task.report(means(merge([found])), Table({"label": np.asarray(batch["label"])}))


def drawn(classes, size=9, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(size, classes)).astype(np.float32) * 3
    return logits, rng.integers(0, classes, size).astype(np.int32)


@settings(max_examples=8, deadline=None)
@given(classes=st.integers(3, 6), smoothing=st.sampled_from([0.0, 0.1]), seed=st.integers(0, 99))
def test_loss_and_metrics_are_numpys(classes, smoothing, seed):
    task = Classification(classes, label_smoothing=smoothing, top=2)
    logits, label = drawn(classes, seed=seed)
    batch = {"label": jnp.asarray(label)}
    onehot = np.eye(classes)[label]
    target = (1 - smoothing) * onehot + smoothing / classes
    log_p = log_softmax(logits)
    np.testing.assert_allclose(
        task.loss(jnp.asarray(logits), batch), -(target * log_p).sum(-1), rtol=1e-4, atol=1e-5
    )
    got = report(task, jnp.asarray(logits), batch)
    predicted = logits.argmax(-1)
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (label, predicted), 1)
    assert got["confusion"] == confusion.tolist()
    assert got["accuracy"] == pytest.approx((predicted == label).mean())
    best = np.argsort(-logits, axis=-1)[:, :2]
    assert got["top2_accuracy"] == pytest.approx((best == label[:, None]).any(-1).mean())
    assert got["loss"] == pytest.approx(-(onehot * log_p).sum(-1).mean(), rel=1e-4)


def test_one_logit_is_two_classes():
    task = Classification(2, label_smoothing=0.2)
    logit, label = jnp.asarray([-40.0, -1.0, 0.5, 90.0]), jnp.asarray([0, 1, 1, 0])
    both = jnp.stack([jnp.zeros(4), logit], -1)
    np.testing.assert_allclose(
        task.loss(logit, {"label": label}), task.loss(both, {"label": label}), rtol=1e-6
    )
    assert task.predict(logit).tolist() == [0, 0, 1, 1]
    assert task.output_shapes({"label": label}) == [(4, 2), (4,)]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64"])
def test_labels_of_any_integer_type(dtype):
    label = np.array([1, 0, 1], dtype)
    task = Classification(2 if dtype == "bool" else 60)
    if dtype != "bool":
        label = label + np.array([58, 0, 40], dtype)
    logits = jnp.asarray(np.eye(task.classes, dtype=np.float32)[label.astype(int)])
    got = report(task, logits, {"label": jnp.asarray(label)})
    assert got["accuracy"] == 1.0 and np.trace(got["confusion"]) == 3


def test_many_classes_have_no_confusion_matrix():
    logits, label = drawn(101)
    assert "confusion" not in report(Classification(101), jnp.asarray(logits), {"label": label})
    logits, label = drawn(3)
    task = Classification(3, confusion=False)
    assert set(report(task, jnp.asarray(logits), {"label": label})) == {"loss", "accuracy"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 1}, "classes must be at least 2, got 1"),
        ({"classes": 3, "label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\)"),
        ({"classes": 3, "label_smoothing": -0.1}, r"label_smoothing must be in \[0, 1\)"),
        ({"classes": 3, "top": 3}, "top must lie between 1 and classes=3"),
        ({"classes": 3, "top": 1}, "top must lie between"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        Classification(**settings)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [0.0] * 3, "label": [0, 3, -1]}, r"1 has label 3, outside 0…2 \(2 such\)"),
        ({"image": [0.0] * 3, "label": [0, 1, -1]}, r"2 has label -1, outside 0…2 \(1 such\)"),
        ({"image": [0.0], "label": [0.5]}, r"column 'label' must hold one integer an example, got"),
        ({"image": [0.0], "label": [[1]]}, r"got shape \(1, 1\) of int64"),
        ({"image": [0.0]}, "no column 'label'; it has image"),
        ({"x": [0.0], "label": [0]}, "no column 'image'; it has x, label"),
    ],
)
def test_splits_that_cannot_be_learnt(columns, message):
    table = Table({k: np.array(v) for k, v in columns.items()}, "my data")
    with pytest.raises(UserError, match=f"^my data: .*{message}"):
        Classification(3).check(table)


def test_sound_splits_pass_and_it_is_a_task():
    Classification(3).check(Table({"image": np.zeros(3), "label": np.arange(3, dtype=np.uint8)}))
    assert isinstance(Classification(3), Task)

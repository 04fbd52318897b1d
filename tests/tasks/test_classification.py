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


def report(task, outputs, batch, classes=()):
    mask = jnp.ones(len(outputs), bool)
    found = {name: total(m, mask) for name, m in task.metrics(outputs, batch).items()}
    columns = {"label": np.asarray(batch["label"])}
    return task.report(means(merge([found])), Table(columns, classes=classes))


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
    hits = {str(c): (predicted[label == c] == c).mean() for c in np.unique(label)}
    assert got["class_accuracy"] == pytest.approx(hits)
    np.testing.assert_allclose(
        task.probabilities(jnp.asarray(logits)), np.exp(log_p), rtol=1e-4, atol=1e-6
    )


def test_one_logit_is_two_classes():
    task = Classification(2, label_smoothing=0.2)
    logit, label = jnp.asarray([-40.0, -1.0, 0.5, 90.0]), jnp.asarray([0, 1, 1, 0])
    both = jnp.stack([jnp.zeros(4), logit], -1)
    np.testing.assert_allclose(
        task.loss(logit, {"label": label}), task.loss(both, {"label": label}), rtol=1e-6
    )
    assert task.predict(logit, {}).tolist() == [0, 0, 1, 1]
    chances = task.probabilities(logit)
    np.testing.assert_allclose(chances[:, 1], 1 / (1 + np.exp(-np.asarray(logit))), rtol=1e-5)
    np.testing.assert_allclose(chances.sum(-1), 1, rtol=1e-6)
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


def test_two_labels_weigh_what_the_batch_says():
    task = Classification(4, label_smoothing=0.1)
    logits, label = drawn(4)
    other, share = (label + 1) % 4, np.linspace(0, 1, 9).astype(np.float32)
    mixed = {"label": label, "other_label": other, "share": share}
    target = share[:, None] * np.eye(4)[label] + (1 - share)[:, None] * np.eye(4)[other]
    expected = -((0.9 * target + 0.1 / 4) * log_softmax(logits)).sum(-1)
    np.testing.assert_allclose(task.loss(jnp.asarray(logits), mixed), expected, rtol=1e-4)
    plain = report(task, jnp.asarray(logits), {"label": label})
    assert report(task, jnp.asarray(logits), mixed) == plain


@pytest.mark.parametrize("mixed", [False, True])
def test_auxiliary_heads_add_to_the_loss_alone(mixed):
    task = Classification(4, label_smoothing=0.1, auxiliary=0.3, top=2)
    rng = np.random.default_rng(0)
    heads = jnp.asarray(rng.normal(size=(9, 3, 4)).astype(np.float32))
    batch = {"label": jnp.asarray(drawn(4)[1])}
    if mixed:
        batch |= {"other_label": 3 - batch["label"], "share": jnp.linspace(0.0, 1.0, 9)}
    main, first, second = (task.loss(heads[:, i], batch) for i in range(3))
    np.testing.assert_allclose(
        task.loss(heads, batch), main + 0.3 * (first + second), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        Classification(4, label_smoothing=0.1, auxiliary=0.0).loss(heads, batch), main, rtol=1e-6
    )
    assert report(task, heads, batch) == report(task, heads[:, 0], batch)
    assert task.predict(heads, {}).tolist() == task.predict(heads[:, 0], {}).tolist()


def test_many_classes_have_no_confusion_matrix():
    logits, label = drawn(1000)
    many = Classification(1000)
    sizes = [np.shape(total(m, jnp.ones(9, bool)).sum) for m in cells(many, logits, label)]
    assert max(sizes) == (2000,)
    got = report(many, jnp.asarray(logits), {"label": label})
    assert "confusion" not in got and len(got["class_accuracy"]) == len(set(label))
    logits, label = drawn(3)
    task = Classification(3, confusion=False)
    assert "confusion" not in report(task, jnp.asarray(logits), {"label": label})


def cells(task, logits, label):
    return task.metrics(jnp.asarray(logits), {"label": label}).values()


def test_accuracies_bear_the_names_of_their_classes():
    label = np.array([0, 0, 1, 3, 3, 3])
    logits = jnp.asarray(np.eye(4, dtype=np.float32)[[0, 1, 1, 3, 3, 0]])
    task, batch = Classification(4), {"label": label}
    accuracies = (0.5, 1.0, 2 / 3)  # of class 2 there is none

    def named(classes):
        found = report(task, logits, batch, classes)["class_accuracy"]
        assert tuple(found.values()) == pytest.approx(accuracies)
        return list(found)

    assert named(("crane", "dog", "fox", "owl")) == ["crane", "dog", "owl"]
    assert named(("crane", "dog", "fox", "crane")) == ["crane (0)", "dog", "crane (3)"]
    assert named(("crane", "dog")) == ["crane", "dog", "3"]
    assert named(("a", "b", "c", "d", "too many")) == ["a", "b", "d"]


def test_the_likeliest_are_shown_with_their_names():
    task, logits = Classification(4), jnp.log(jnp.array([[0.1, 0.2, 0.4, 0.3], [0.7, 0.1, 0.2, 0]]))
    first, second = task.answers(logits, {}, ("crane", "dog", "crane"), 2)
    assert first == [("crane (2)", pytest.approx(0.4), None), ("3", pytest.approx(0.3), None)]
    assert [answer.name for answer in second] == ["crane (0)", "crane (2)"]
    assert [len(of_one) for of_one in task.answers(logits, {}, (), score=0.25)] == [2, 1]


def test_accuracies_by_class_are_exact_over_uneven_batches_and_padding():
    task = Classification(5)
    logits, label = drawn(5, size=30)
    whole = report(task, jnp.asarray(logits), {"label": label})["class_accuracy"]
    parts = []
    for rows in (slice(0, 20), slice(10, 30)):  # the second has ten of the first, masked
        mask = np.arange(30)[rows] >= (0 if rows.start == 0 else 20)
        found = task.metrics(jnp.asarray(logits[rows]), {"label": label[rows]})
        parts.append({name: total(m, jnp.asarray(mask)) for name, m in found.items()})
    got = task.report(means(merge(parts)), Table({"label": label}))["class_accuracy"]
    assert got == pytest.approx(whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 1}, "classes must be at least 2, got 1"),
        ({"classes": 3, "label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\)"),
        ({"classes": 3, "label_smoothing": -0.1}, r"label_smoothing must be in \[0, 1\)"),
        ({"classes": 3, "top": 3}, "top must lie between 1 and classes=3"),
        ({"classes": 3, "top": 1}, "top must lie between"),
        ({"classes": 3, "auxiliary": -0.3}, "auxiliary must be finite and at least 0, got -0.3"),
        ({"classes": 3, "auxiliary": float("nan")}, "auxiliary must be finite"),
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
        (
            {"image": [0.0], "label": [0.5]},
            r"column 'label' must hold one integer per example, got",
        ),
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

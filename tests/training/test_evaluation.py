"""Every example of a split exactly once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl
from jaxdl.models import MLP

TASK = jaxdl.Classification(classes=3, input="features")
MODEL = jaxdl.functional(MLP(outputs=3))
RNG = np.random.default_rng(0)
TABLE = {
    "features": RNG.normal(size=(33, 4)).astype(np.float32),
    "label": RNG.integers(0, 3, 33).astype(np.int32),
}
BATCH = 8


def split(examples):
    return jaxdl.Table({name: column[:examples] for name, column in TABLE.items()})


@pytest.fixture(scope="module")
def state():
    batch = {k: jnp.asarray(v) for k, v in TABLE.items()}
    return jaxdl.init(MODEL, TASK, optax.sgd(1.0), batch, average=True)


@pytest.fixture(scope="module")
def evaluation():
    return jax.jit(jaxdl.make_evaluation(MODEL, TASK))


@pytest.mark.parametrize("examples", [1, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33])
def test_metrics_are_numpys_on_the_whole_split(state, evaluation, examples):
    table = split(examples)
    x, label = table.columns["features"], table.columns["label"]
    layer = jax.device_get(state.params["Dense_0"])
    logits = x @ layer["kernel"] + layer["bias"]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    got = jaxdl.evaluate(evaluation, TASK, state, table, BATCH)
    assert got["loss"] == pytest.approx(-log_p[np.arange(examples), label].mean(), rel=1e-5)
    assert got["accuracy"] == pytest.approx((log_p.argmax(-1) == label).mean(), abs=1e-12)
    assert np.sum(got["confusion"]) == examples
    assert np.sum(got["confusion"], axis=1).tolist() == np.bincount(label, minlength=3).tolist()


def test_one_compilation_serves_every_size(state, evaluation):
    for examples in (1, 8, 33):
        jaxdl.evaluate(evaluation, TASK, state, split(examples), BATCH)
    assert evaluation._cache_size() == 1


def test_the_average_is_what_is_evaluated_and_predicts(state, evaluation):
    shifted = jax.tree.map(lambda w: w * 0, state.params)
    shifted["Dense_0"]["bias"] = jnp.asarray([0.0, 0.0, 5.0])
    other = jaxdl.State(**{**vars(state), "average": shifted})
    batch = {k: jnp.asarray(v) for k, v in TABLE.items()}
    assert (jaxdl.make_prediction(MODEL, TASK)(other, batch) == 2).all()
    got = jaxdl.evaluate(evaluation, TASK, other, split(33), BATCH)
    assert got["accuracy"] == pytest.approx((TABLE["label"] == 2).mean())

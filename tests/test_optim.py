"""Optimisers by parameter group."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from jaxdl.durations import Clock
from jaxdl.errors import UserError
from jaxdl.training.build import resolved
from jaxdl.tree import paths

CLOCK = Clock(total=100, steps_per_epoch=10.0)
PARAMS = {
    "Dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
    "norm": {"scale": jnp.ones(3)},
}
GRADS = jax.tree.map(lambda w: 0.1 * w, PARAMS)


def moved(params=PARAMS, grads=GRADS, updates=1, **node):
    """What the last of some updates adds to each parameter, by path."""
    optimizer = optim.build({"name": "sgd", "learning_rate": 1.0, **node}, CLOCK)
    state = optimizer.init(params)
    for _ in range(updates):
        change, state = optimizer.update(grads, state, params)
    return dict(zip(paths(params), map(np.asarray, jax.tree.leaves(change)), strict=True))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted({*optim.factories()} - {"kernel_muon"}))
def test_every_optimiser_of_optax_needs_only_a_rate(name):
    for path, change in moved(name=name, learning_rate=0.01, updates=2).items():
        assert np.isfinite(change).all() and (change != 0).any(), path


def test_a_rate_is_followed_step_by_step():
    optimizer = optim.build(
        {"name": "sgd", "learning_rate": {"name": "stepwise", "peak": 1.0, "drops": (1,)}}, CLOCK
    )
    state, seen = optimizer.init(PARAMS), []
    for _ in range(2):
        updates, state = optimizer.update(GRADS, state, PARAMS)
        seen.append(float(updates["norm"]["scale"][0]))
    np.testing.assert_allclose(seen, [-0.1, -0.01], rtol=1e-6)


def test_groups_by_the_first_pattern_that_matches():
    change = moved(groups=(("bias", None), ("Dense", {"learning_rate": 2.0}), (".*", {})))
    assert (change["Dense_0/bias"] == 0).all()
    np.testing.assert_allclose(change["Dense_0/kernel"], -0.2, rtol=1e-6)
    np.testing.assert_allclose(change["norm/scale"], -0.1, rtol=1e-6)


def test_frozen_parameters_stay_to_the_bit():
    params = jax.tree.map(lambda w: w / 3, PARAMS)
    node = {"name": "adamw", "weight_decay": 0.5, "groups": (("Dense", None), (".*", {}))}
    change = moved(params, **node)
    assert not change["Dense_0/kernel"].any() and not change["Dense_0/bias"].any()
    assert change["norm/scale"].any()


def test_what_is_trained_is_what_no_group_freezes():
    groups = (("bias", None), ("Dense", {"learning_rate": 2.0}), (".*", None))
    chosen = optim.trained({"name": "sgd", "learning_rate": 1.0, "groups": groups}, PARAMS)
    assert chosen == {"Dense_0": {"kernel": True, "bias": False}, "norm": {"scale": False}}
    assert all(jax.tree.leaves(optim.trained({"name": "sgd", "learning_rate": 1.0}, PARAMS)))
    with pytest.raises(UserError, match="groups: no pattern matches 'Dense_0/bias'"):
        optim.trained({"groups": (("kernel", None),)}, PARAMS)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((("kernel", {}),), "groups: no pattern matches 'Dense_0/bias'; end with"),
        (
            (("conv", {}), (".*", {})),
            "'conv' is the first match of no parameter; there are Dense_0/bias",
        ),
        (((".*", {}), ("bias", {})), "'bias' is the first match of no parameter"),
        (((".*", {}), (".*", None)), r"groups\[1\]: .*'\.\*'.* twice"),
        ((("(", {}),), r"groups\[0\]: '\(' is not a regular expression"),
        ((".*",), r"groups\[0\]: expected a pair"),
        ("kernel", "groups: expected pairs"),
        (3, r"groups: expected pairs"),
        (((".*", 0.1),), r"groups\[0\]: expected a pair \(regex, dict or None\)"),
        (((".*", {"learning_rat": 0.1}),), r"groups\[0\].learning_rat: unknown; did you mean"),
        (((".*", {"clip_norm": 0.1}),), r"groups\[0\].clip_norm: unknown; it takes"),
    ],
)
def test_groups_that_cannot_be(groups, message):
    with pytest.raises(UserError, match=message):
        moved(groups=groups)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion", "lars"])
def test_weight_decay_spares_vectors(name):
    still = jax.tree.map(jnp.zeros_like, PARAMS)
    change = moved(grads=still, name=name, weight_decay=0.5)
    assert (change["Dense_0/kernel"] < 0).all()
    assert not change["Dense_0/bias"].any() and not change["norm/scale"].any()


def test_weight_decay_that_an_optimiser_has_by_default_spares_vectors_too():
    change = moved(grads=jax.tree.map(jnp.zeros_like, PARAMS), name="adamw")
    assert (change["Dense_0/kernel"] < 0).all() and not change["norm/scale"].any()


def test_decay_only_what_is_asked():
    still = jax.tree.map(jnp.zeros_like, PARAMS)
    change = moved(grads=still, weight_decay=0.5, decay_only="norm|bias")
    np.testing.assert_allclose(change["norm/scale"], -0.5)
    assert not change["Dense_0/kernel"].any()
    with pytest.raises(UserError, match="decay_only: 'kernle' matches no parameter"):
        moved(weight_decay=0.5, decay_only="kernle")


def test_decay_only_goes_with_groups():
    groups = (("bias", {"learning_rate": 0.1}), (".*", {}))
    still = jax.tree.map(jnp.zeros_like, PARAMS)
    change = moved(grads=still, weight_decay=0.5, decay_only="kernel", groups=groups)
    np.testing.assert_allclose(change["Dense_0/kernel"], -0.5)
    assert not change["Dense_0/bias"].any() and not change["norm/scale"].any()


def test_clipping_is_by_the_global_norm_over_all_groups():
    norm = float(np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(GRADS))))
    change = moved(clip_norm=norm / 4, groups=((".*bias", {}), (".*", {})))
    for value in change.values():
        np.testing.assert_allclose(value, -0.1 / 4, rtol=1e-5)
    np.testing.assert_allclose(moved(clip_norm=norm * 2)["norm/scale"], -0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"name": "adm"}, "config.optimizer.name: unknown 'adm'; did you mean 'adam'"),
        ({"learning_rate": None}, "config.optimizer.learning_rate"),
        ({"momentun": 0.9}, "config.optimizer.momentun: unknown; did you mean 'momentum'"),
        ({"momentum": "0.9"}, "config.optimizer.momentum: expected a number, got '0.9'"),
        ({"clip_norm": 0}, "config.optimizer.clip_norm: expected a number above 0"),
        ({"weight_decay": -1}, "config.optimizer.weight_decay: expected a number above 0"),
        ({"name": "adamw", "weight_decay": -1}, "config.optimizer.weight_decay: expected"),
        ({"decay_only": "("}, r"config.optimizer.decay_only: '\(' is not a regular expression"),
        ({"decay_only": 3}, r"config.optimizer.decay_only: expected a regular expression, got 3"),
        ({"name": "optimistic_adam", "learning_rate": {"name": "cosine", "peak": 1.0}}, "refuses"),
        (
            {"name": "least_squares", "learning_rate": 1.0},
            "config.optimizer.learning_rate: unknown",
        ),
    ],
)
def test_optimisers_that_cannot_be(node, message):
    with pytest.raises(UserError, match=message):
        moved(**{"name": "sgd", "learning_rate": 1.0, **node})


def test_a_missing_rate_is_named():
    with pytest.raises(UserError, match=r"config.optimizer.learning_rate: missing"):
        optim.build({"name": "sgd"}, CLOCK)
    with pytest.raises(UserError, match=r"config.optimizer: expected a dict with 'name', got 3"):
        optim.build(3, CLOCK)


def test_a_number_is_a_duration_in_steps():
    assert CLOCK.steps(7, "d") == 7 and CLOCK.steps({"epochs": 2.5}, "d") == 25
    assert CLOCK.steps(None, "d") is None
    with pytest.raises(UserError, match="d: expected a number of steps, or dict"):
        CLOCK.steps("7", "d")


@pytest.mark.parametrize("name", ["adam", "adamw", "adafactor", "lamb", "lion", "rmsprop", "sgd"])
def test_the_defaults_that_a_config_holds_are_those_of_the_optimiser(name):
    node = {"name": name, "learning_rate": {"name": "cosine", "peak": 0.1, "warmup": 3}}
    full = resolved({"optimizer": node})["optimizer"]
    assert full["learning_rate"] == {**node["learning_rate"], "floor": 0.0}  # no start, no total
    assert len(full) > len(node)
    expected = moved(**node, updates=5)
    for path, change in moved(**full, updates=5).items():
        np.testing.assert_array_equal(change, expected[path])


def test_a_group_takes_no_defaults_of_another_optimiser():
    groups = (("norm", {"name": "sgd", "momentum": 0.9}), (".*", {}))
    node = {"name": "adam", "learning_rate": 0.1, "groups": groups}
    full, expected = resolved({"optimizer": node})["optimizer"], moved(**node)
    for path, change in moved(**full).items():
        np.testing.assert_array_equal(change, expected[path])
    with pytest.raises(UserError, match=r"groups\[0\].b1: unknown"):
        moved(**node, b1=0.8)


def descended(updates, **node):
    """The parameters and the state after some updates down a bowl around 0."""
    optimizer = optim.build({"learning_rate": 0.05, **node}, CLOCK)
    params = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}
    state = optimizer.init(params)

    @jax.jit
    def update(params, state):
        change, state = optimizer.update(params, state, params)
        return optax.apply_updates(params, change), state

    for _ in range(updates):
        params, state = update(params, state)
    return params, state


def test_kernel_muon_steps_by_an_orthogonal_matrix_from_a_kernel_of_fixed_norm():
    rng = np.random.default_rng(0)
    kernel, slope = (rng.normal(size=(3, 3, 4, 8)).astype(np.float32) for _ in range(2))
    change = moved({"kernel": kernel}, {"kernel": slope}, name="kernel_muon", learning_rate=0.2)
    fixed = kernel * np.sqrt(8) / np.linalg.norm(kernel)
    step = (fixed - (kernel + change["kernel"])).reshape(36, 8) / 0.2
    left, _, right = np.linalg.svd(slope.reshape(36, 8), full_matrices=False)
    singular = np.diag(left.T @ step @ right.T)  # Jordan: S' of U S' Vᵀ is within 0.5 and 1.5
    np.testing.assert_allclose(step, left * singular @ right, atol=1e-4)
    assert (singular > 0.3).all() and (singular < 1.5).all()


def test_kernel_muon_adds_gradients_up_with_nesterov_momentum():
    rng = np.random.default_rng(0)
    kernel, slope = (rng.normal(size=(4, 4)).astype(np.float32) for _ in range(2))
    plain, ahead = (
        moved({"w": kernel}, {"w": slope}, 3, name="kernel_muon", learning_rate=0.2, nesterov=n)
        for n in (False, True)
    )
    np.testing.assert_allclose(plain["w"], ahead["w"], atol=1e-5)  # of a gradient that stays


def test_kernel_muon_refuses_biases(refuses):
    with refuses("kernel_muon", "two axes or more", "with groups"):
        moved(name="kernel_muon", learning_rate=0.2)


@pytest.mark.parametrize("name", ["contrib.muon", "contrib.prodigy", "optax.contrib:ademamix"])
def test_optimisers_of_optax_contrib_are_there_by_name(name):
    rate = {"learning_rate": 1.0} if name == "contrib.prodigy" else {}
    params, _ = descended(100, name=name, **rate)
    assert all(jnp.abs(w).max() < 0.3 for w in jax.tree.leaves(params))


def test_what_is_evaluated_of_a_schedule_free_optimiser_is_its_average():
    params, state = descended(
        20, name="contrib.schedule_free_sgd", learning_rate=0.3, clip_norm=9.0
    )
    x = optim.eval_params(params, state)
    inner = state[1]
    expected = jax.tree.map(lambda y, z: (y - (1 - 0.9) * z) / 0.9, params, inner.z)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), x, expected)
    assert (x["kernel"] != params["kernel"]).all()
    saved = optim.eval_params(params, [{}, {**inner._asdict(), "base_optimizer_state": [None]}])
    jax.tree.map(np.testing.assert_array_equal, x, saved)
    assert optim.eval_params(params, {"mu": params}) is params


@pytest.mark.parametrize(
    "node, said",
    [
        ({"name": "contrib.momo"}, "needs the loss at each update"),
        ({"name": "optax.contrib:sam"}, "needs two optimisers"),
        ({"name": "contrib.mun"}, "unknown 'contrib.mun'; did you mean 'contrib.muon'?"),
        ({"name": "muon"}, "unknown 'muon'"),
        ({"name": "contrib.muon", "nesterof": True}, "did you mean 'nesterov'?"),
        ({"name": "contrib.muon", "ns_steps": 2.5}, "ns_steps: expected a whole number, got 2.5"),
        ({"name": "contrib.muon", "beta": "big"}, "beta: expected a number, got 'big'"),
        ({"name": "contrib.muon", "preconditioning": "x"}, "'schatten', got 'x'"),
        ({"name": "contrib.galore", "rank": 0}, "`rank` must be positive"),
        ({"name": "contrib.prodigy", "betas": 0.9}, "refuses its arguments"),
        ({"name": "contrib.schedule_free_sgd", "b1": 0}, "b1: expected a number above 0, got 0"),
        (
            {"name": "contrib.schedule_free_sgd", "groups": (("kernel", {}), ("bias", None))},
            "must have all parameters; leave groups out",
        ),
    ],
)
def test_what_optax_contrib_cannot_do_is_one_line(refuses, node, said):
    with refuses("config.optimizer", said):
        optim.build({"learning_rate": 0.1, **node}, CLOCK)

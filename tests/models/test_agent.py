"""The actor and its critic play whole episodes, each for itself."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.environments import Environment
from jaxdl.models import ActorCritic, functional

SEEDS = np.arange(6, dtype=np.uint32)


class Corridor(Environment):
    """Five doors in a row: one step right is rewarded, or, by chance, leads left; the ends end."""

    actions, horizon = 3, 12

    def __init__(self, slips: float = 0.2):
        self.slips = slips

    def reset(self, key):
        return jax.random.randint(key, (), 1, 4)

    def observe(self, state):
        return jax.nn.one_hot(state, 5)

    def step(self, state, action, key):
        moves = jnp.where(jax.random.bernoulli(key, self.slips), -1, action - 1)
        new = state + moves
        return new, 1.0 * (moves == 1), (new <= 0) | (new >= 4)

    def scene(self, state):
        return jnp.array([[(0.0, 0.0), (4.0, 0.0)], [(0.0, 0.0), (0.0, 1.0)]]) + 0.0 * state


def played(seeds=SEEDS, train=False, key=0, environment=None, **settings):
    model = functional(ActorCritic(environment=environment or {"name": "cartpole", **settings}))
    params, _ = model.init(jax.random.key(1), (SEEDS,))
    outputs, _ = jax.jit(model.apply, static_argnums=4)(
        params, {}, (seeds,), jax.random.key(key) if train else None, train
    )
    return jax.device_get(outputs)


def test_an_episode_that_is_over_earns_nothing_and_stands_still():
    outputs = played(train=True, horizon=60)
    playing, reward, scene = outputs["playing"], outputs["reward"], outputs["scene"]
    assert playing.shape == (6, 61) and reward.shape == (6, 60) and scene.shape == (6, 61, 6, 2, 2)
    np.testing.assert_array_equal(reward, playing[:, :-1])
    steps = playing[:, :-1].sum(1)
    assert 5 < steps.min() < steps.max() < 60
    for episode, last in zip(scene, steps, strict=True):
        assert (episode[last:] == episode[last]).all() and (
            episode[last] != episode[last - 1]
        ).any()
        assert not np.isnan(episode).any()


@pytest.mark.parametrize("train", [False, True])
def test_an_episode_does_not_depend_on_the_others_of_its_batch(train):
    together, alone = played(train=train, horizon=40), played(SEEDS[4:5], train=train, horizon=40)
    np.testing.assert_array_equal(together["action"][4], alone["action"][0])
    np.testing.assert_allclose(together["scene"][4], alone["scene"][0], rtol=1e-5)


@pytest.mark.slow
def test_training_draws_from_the_policy_and_evaluation_does_not():
    first, again, other = (played(train=True, key=key, horizon=40) for key in (0, 0, 1))
    assert (first["action"] == again["action"]).all() and (first["action"] != other["action"]).any()
    greedy = played(horizon=40)
    likeliest = np.exp(greedy["log_p"]) >= 0.5  # of two actions
    assert likeliest.all() and not (np.exp(first["log_p"]) >= 0.5).all()
    many = played(np.arange(3000), train=True, horizon=2)
    drawn, said = (many["action"][:, 0] == 1).mean(), np.exp(many["log_p"][:, 0])
    said = np.where(many["action"][:, 0] == 1, said, 1 - said).mean()
    assert drawn == pytest.approx(said, abs=0.03)


@pytest.mark.parametrize(
    ("node", "fragments"),
    [
        ({"name": "cartpool"}, ("environment.name: unknown 'cartpool'", "did you mean 'cartpole'")),
        ({"name": "cartpole", "horizon": 0}, ("environment: horizon: expected at least 1",)),
        ({"name": "cartpole", "horizon": "long"}, ("environment.horizon: expected int",)),
        ({"horizon": 3}, ("environment.name: missing; choose from cartpole",)),
    ],
)
def test_an_environment_that_cannot_be_is_refused(refuses, node, fragments):
    with refuses("config.model.environment", *fragments):
        played(environment=node)


def test_an_environment_of_ones_own_with_chance_trains_and_asks_for_consent(call, tmp_path):
    name = f"{__name__}:Corridor"
    config = {
        "data": {"source": "episodes", "train_episodes": 640, "test_episodes": 40},
        "model": {"name": "actor_critic", "environment": {"name": name}, "hidden": ()},
        "task": {"name": "policy_gradient", "trace": 0.9, "entropy": 0.001},
        "optimizer": {"name": "adam", "learning_rate": 0.1},
        "training": {"batch_size": 32, "epochs": 2, "accumulate": 2},
        "figures": ("episode",),
    }
    (tmp_path / "config.py").write_text(f"def get_config():\n    return {config!r}\n")
    run = tmp_path / "run"
    status, out, err = call("train", "--config", tmp_path / "config.py", "--workdir", run)
    assert (status, err) == (0, "") and (run / "figures" / "episode.png").exists()
    earned = json.loads((run / "result.json").read_text())["metrics"]["test/return"]
    assert 4 < earned < 7  # it goes back and forth, since three doors ahead is the end
    assert call("evaluate", "--workdir", run)[0] == 2
    status, out, _ = call("evaluate", "--workdir", run, "--trust", __name__)
    assert status == 0 and f"{earned:.6g}" in out

    (tmp_path / "seeds.csv").write_text(f"seed\n7\n{2**32 - 1}\n")
    words = ("predict", "--workdir", run, tmp_path / "seeds.csv", "--trust", __name__)
    status, out, err = call(*words)
    assert (status, err) == (0, "") and out.count("return") == 2
    for cell, fault in (("7.5", "'7.5' is not a whole number"), ("-1", "'seed' must be uint32")):
        (tmp_path / "seeds.csv").write_text(f"seed\n{cell}\n")
        status, _, err = call(*words)
        assert status == 2 and fault in err

"""An agent that keeps a pole upright: REINFORCE with a learnt baseline on CartPole-v1.

    jaxdl train --config configs/cartpole.py --workdir runs/cartpole

No data: an example is the seed of an episode. Training draws actions from the policy; evaluation
plays each of 100 other episodes once, and takes the likeliest action.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Two networks of one hidden layer; 64 episodes an update, 100 updates."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(source="episodes", train_episodes=6_400, test_episodes=100)
    config.model = dict(name="actor_critic", environment=dict(name="cartpole"), hidden=(64,))
    config.task = dict(name="policy_gradient", discount=0.99)
    config.optimizer = dict(name="adam", learning_rate=dict(name="cosine", peak=5e-3))
    config.training = dict(
        batch_size=64,
        epochs=1,
        log_every=dict(steps=1),
        evaluate_every=dict(steps=4),
    )
    config.target = dict(
        metric="test/return", value=475.0, source="Gymnasium, CartPole-v1: solved at 475 of 500"
    )
    config.figures = ("episode",)
    return config

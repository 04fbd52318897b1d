"""Agents: a policy, unrolled in an environment, and what it did there."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Integer

from jaxdl import config as cfg
from jaxdl.environments import ENVIRONMENTS
from jaxdl.models.layers import Module
from jaxdl.models.mlp import MLP, Activation


class ActorCritic(Module):
    """A policy and a baseline, two networks, and the episodes that the policy plays.

    In training an action is drawn from the policy, by chance that depends on run, step and the
    episode's seed alone, not on the other episodes of the batch; in evaluation it is the likeliest.

    Attributes:
      environment: name and arguments of one of `jaxdl.environments.ENVIRONMENTS`, or of your own.
      hidden: sizes of the hidden layers of each network.
      activation: 'relu', 'tanh' or 'sigmoid', after each hidden layer.
    """

    environment: Mapping[str, Any]
    hidden: tuple[int, ...] = (64,)
    activation: Activation = "tanh"

    @nn.compact
    def __call__(self, seed: Integer[Array, " batch"], *, train: bool = False) -> dict[str, Array]:
        """The whole episodes that start from these seeds, (batch,).

        Returns:
          Of each step, (batch, horizon): `action`, its `log_p`, the policy's `entropy`, and the
          `reward`, 0 once the episode is over. Of each state, before all steps and after the last,
          (batch, horizon + 1): whether it is `playing` still, the baseline's `value`, and the
          `scene` (…, lines, 2, 2). Nothing moves any more once an episode is over.
        """
        world = cfg.build(self.environment, ENVIRONMENTS, "config.model.environment")
        network = functools.partial(MLP, hidden=self.hidden, activation=self.activation)
        policy, baseline = network(world.actions, name="policy"), network(name="baseline")
        keys = jax.vmap(jax.random.key)(seed)
        noise = jnp.zeros((len(seed), world.horizon, world.actions))
        if train:  # the largest of logits and Gumbel noise is a draw from the softmax
            fresh = jax.vmap(jax.random.fold_in, (None, 0))(self.make_rng("dropout"), seed)
            noise = jax.vmap(lambda key: jax.random.gumbel(key, noise.shape[1:]))(fresh)

        def advance(state: Any, playing: Array, action: Array, key: Array) -> Any:
            new, reward, over = world.step(state, action, key)
            stays = functools.partial(jnp.where, playing)
            return jax.tree.map(stays, new, state), playing & ~over, jnp.where(playing, reward, 0)

        def act(policy: nn.Module, now: Any, chance: Any) -> Any:
            state, playing = now
            logits = policy(jax.vmap(world.observe)(state))
            action = jnp.argmax(logits + chance[0], axis=-1)
            *after, reward = jax.vmap(advance)(state, playing, action, chance[1])
            return tuple(after), (now, action, reward)

        # ---- Play, without a gradient: actions are whole numbers.
        play = nn.scan(
            act, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1
        )
        chance = noise, jax.vmap(lambda key: jax.random.split(key, world.horizon))(keys)
        start = jax.vmap(world.reset)(keys), jnp.ones(len(seed), bool)
        end, (before, action, reward) = play(policy, start, chance)
        state, playing = jax.tree.map(
            lambda x, last: jnp.concatenate([x, last[:, None]], axis=1), before, end
        )

        # ---- Judge what was played, all steps at once.
        seen = jax.vmap(jax.vmap(world.observe))(state)
        flat = lambda x: x.reshape(-1, x.shape[-1])  # noqa: E731
        log_p = jax.nn.log_softmax(policy(flat(seen[:, :-1])).reshape(noise.shape))
        return {
            "action": action,
            "log_p": jnp.take_along_axis(log_p, action[..., None], axis=-1)[..., 0],
            "entropy": -jnp.sum(jnp.exp(log_p) * log_p, axis=-1),
            "reward": reward,
            "playing": playing,
            "value": baseline(flat(seen)).reshape(playing.shape),
            "scene": jax.vmap(jax.vmap(world.scene))(state),
        }

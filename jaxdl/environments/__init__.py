"""Environments: worlds in which an agent acts, as pure functions of one episode, a file each.

They know JAX alone: no model, task or data. A model such as `actor_critic` plays many episodes at
once by `jax.vmap`, in one compiled loop. To add one, write a subclass of `Environment` in a file
here and name it in `ENVIRONMENTS`, or keep it in your own code and name it in the config as
`'package.module:Class'`. Its fields are the keys of `config.model.environment`.
"""

from __future__ import annotations

from jaxdl.environments.base import Environment
from jaxdl.environments.cartpole import CartPole

ENVIRONMENTS: dict[str, type[Environment]] = {"cartpole": CartPole}

__all__ = ["ENVIRONMENTS", "CartPole", "Environment"]

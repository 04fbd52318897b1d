"""Reinforcement learning: the gradient of what a policy earns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdl.data.table import Table
from jaxdl.errors import UserError
from jaxdl.tasks.answer import Answer
from jaxdl.tasks.base import GivesAnswers

_NEEDED = {"log_p", "entropy", "reward", "playing", "value"}


@dataclass(frozen=True)
class PolicyGradient(GivesAnswers):
    """REINFORCE with a learnt baseline (Williams 1992), or an actor-critic.

    The gradient of log π(aₜ) times the advantage of each step: the discounted rewards from then on,
    less the baseline, which learns to predict them. Rewards are divided by what their discounts sum
    to, so that returns are of the order of a reward however far one looks ahead. An episode that
    was cut off, and not over, goes on as its baseline says (Pardo et al. 2018).

    Args:
      discount: γ, in (0, 1].
      trace: λ of generalized advantage estimation (Schulman et al. 2016): 1 waits for all rewards,
        which is REINFORCE; 0 asks the baseline after one step, which is an actor-critic.
      baseline_weight: of the squared errors of the baseline, relative to the policy.
      entropy: weight of the policy's entropy, which keeps it from deciding early.
      input: column of the seeds, whole numbers (examples,), of which each starts an episode.
    """

    discount: float = 0.99
    trace: float = 1.0
    baseline_weight: float = 0.5
    entropy: float = 0.0
    input: str = "seed"

    headline = ("return",)

    def __post_init__(self) -> None:
        """Refuse what is outside its range."""
        if not 0 < self.discount <= 1:
            raise UserError(f"discount must be in (0, 1], got {self.discount}")
        if not 0 <= self.trace <= 1:
            raise UserError(f"trace must be in [0, 1], got {self.trace}")
        for name in ("baseline_weight", "entropy"):
            if not 0 <= getattr(self, name) < np.inf:
                raise UserError(f"{name} must be finite and at least 0, got {getattr(self, name)}")

    def loss(self, outputs: Any, batch: Mapping[str, Any]) -> Array:
        """Of each episode, (batch,), divided by the horizon.

        Raises:
          UserError: the outputs are not what happened in episodes.
        """
        if not isinstance(outputs, Mapping) or not outputs.keys() >= _NEEDED:
            raise UserError(
                f"config.model: the task needs a dict with {', '.join(sorted(_NEEDED))} for each "
                "step; use a model that plays, such as actor_critic"
            )
        advantage = jax.lax.stop_gradient(self.advantages(outputs))
        value, playing = outputs["value"][:, :-1], outputs["playing"][:, :-1]
        earned = advantage + jax.lax.stop_gradient(value)
        each = self.baseline_weight * jnp.square(earned - value) / 2
        each -= advantage * outputs["log_p"] + self.entropy * outputs["entropy"]
        return jnp.mean(jnp.where(playing, each, 0), axis=1)

    def advantages(self, outputs: Mapping[str, Any]) -> Float[Array, "batch horizon"]:
        """Σ_k (γλ)^k δ_{t+k}, with δ_t = r_t + γ v_{t+1} - v_t, where v is 0 once it is over."""
        reward, value = outputs["reward"], jnp.where(outputs["playing"], outputs["value"], 0)
        scale = max(1 - self.discount, 1 / reward.shape[1])
        surprise = scale * reward + self.discount * value[:, 1:] - value[:, :-1]

        def back(later: Array, now: Array) -> tuple[Array, Array]:
            total = now + self.discount * self.trace * later
            return total, total

        return jax.lax.scan(back, jnp.zeros_like(value[:, 0]), surprise.T, reverse=True)[1].T

    def training_metrics(self, outputs: Any, batch: Mapping[str, Any]) -> dict[str, Array]:
        """The loss and the undiscounted return of each episode, (batch,)."""
        return {"loss": self.loss(outputs, batch), "return": jnp.sum(outputs["reward"], axis=1)}

    def metrics(self, outputs: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The undiscounted return and the steps of each episode: a loss says nothing of a policy.

        Evaluation plays greedily.
        """
        steps = jnp.sum(outputs["playing"][:, :-1], axis=1)
        return {"return": jnp.sum(outputs["reward"], axis=1), "steps": steps}

    def answers(
        self, outputs: Any, batch: Mapping[str, Any], classes: Sequence[str]
    ) -> list[list[Answer]]:
        """The return of each episode."""
        returns = np.asarray(outputs["reward"], float).sum(axis=1)
        return [[Answer("return", value)] for value in returns.tolist()]

    def check(self, table: Table) -> None:
        """Refuse a split without seeds."""
        table.require((self.input,), "Set config.task.input")
        seeds = table.columns[self.input]
        if seeds.ndim != 1 or seeds.dtype.kind not in "iu":
            raise UserError(
                f"{table.where}: column {self.input!r} must hold one whole number an example, the "
                f"seed of its episode; got shape {seeds.shape} of {seeds.dtype}"
            )

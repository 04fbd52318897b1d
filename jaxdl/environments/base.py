"""What an environment has to say of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, Int

State = Any  # a pytree of arrays, of one episode


class Environment(ABC):
    """A world with a choice of a few actions at each step, as pure functions of one episode.

    Attributes:
      actions: how many there are to choose from, numbered from 0.
      horizon: steps after which an episode is cut off.
    """

    actions: int
    horizon: int

    @abstractmethod
    def reset(self, key: jax.Array) -> State:
        """The state in which the episode of a key starts."""

    @abstractmethod
    def observe(self, state: State) -> Float[Array, " features"]:
        """What the agent sees, (features,), numbers of the order of 1."""

    @abstractmethod
    def step(
        self, state: State, action: Int[Array, ""], key: jax.Array
    ) -> tuple[State, Float[Array, ""], Bool[Array, ""]]:
        """The next state, the reward of getting there, and whether the episode is over.

        Args:
          state: before.
          action: what the agent does.
          key: of what chance does in this step.
        """

    @abstractmethod
    def scene(self, state: State) -> Float[Array, "lines 2 2"]:
        """How the state looks: (lines, 2, 2), both ends of each line, (x, y), y upwards."""

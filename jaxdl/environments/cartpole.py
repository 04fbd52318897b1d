"""The cart-pole: a pole on a cart that is pushed left or right, to be kept upright."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdl.environments.base import Environment
from jaxdl.errors import UserError

_GRAVITY, _CART, _POLE, _HALF, _FORCE, _TICK = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02  # SI units
_TRACK, _LEAN = 2.4, math.radians(12)  # metres and radians beyond which an episode is over
_USUAL = (1.0, 2.0, 0.1, 2.0)  # of the state, while a pole is balanced


@dataclass(frozen=True)
class CartPole(Environment):
    """Gymnasium's CartPole-v1: push a cart left (0) or right (1) so that its pole stays upright.

    Barto, Sutton and Anderson (1983), "Neuronlike adaptive elements that can solve difficult
    learning control problems", appendix, without friction, by Euler's method in steps of 0.02 s, as
    Gymnasium documents it. Each step is rewarded by 1. An episode is over once the cart is 2.4 m
    from the middle or the pole 12° from upright. The state is (position in m, its velocity, angle
    in radians, its velocity), and starts anywhere within ±0.05.

    Args:
      horizon: steps after which an episode is cut off: 500 in CartPole-v1, 200 in v0.
    """

    horizon: int = 500

    actions = 2

    def __post_init__(self) -> None:
        """Refuse an episode without steps."""
        if self.horizon < 1:
            raise UserError(f"horizon: expected at least 1 step, got {self.horizon}")

    def reset(self, key: jax.Array) -> Float[Array, "4"]:
        """Nearly upright, nearly at rest, nearly in the middle."""
        return jax.random.uniform(key, (4,), jnp.float32, -0.05, 0.05)

    def observe(self, state: Float[Array, "4"]) -> Float[Array, "4"]:
        """The state, each number over what is usual of it."""
        return state / jnp.array(_USUAL, state.dtype)

    def step(
        self, state: Float[Array, "4"], action: Int[Array, ""], key: jax.Array
    ) -> tuple[Float[Array, "4"], Float[Array, ""], Bool[Array, ""]]:
        """One push of 10 N, for a fiftieth of a second; nothing is left to chance."""
        _, v, angle, spin = state
        sin, cos, mass = jnp.sin(angle), jnp.cos(angle), _CART + _POLE
        push = (jnp.where(action == 1, _FORCE, -_FORCE) + _POLE * _HALF * spin**2 * sin) / mass
        turn = (_GRAVITY * sin - cos * push) / (_HALF * (4 / 3 - _POLE * cos**2 / mass))
        pull = push - _POLE * _HALF * turn * cos / mass
        new = state + _TICK * jnp.stack([v, pull, spin, turn])
        over = (jnp.abs(new[0]) > _TRACK) | (jnp.abs(new[2]) > _LEAN)
        return new, jnp.ones((), state.dtype), over

    def scene(self, state: Float[Array, "4"]) -> Float[Array, "6 2 2"]:
        """The track, the cart's four sides and the pole, in metres."""
        x, angle = state[0], state[2]
        foot = jnp.stack([x, jnp.zeros_like(x)])
        corners = foot + jnp.array([(-0.25, -0.15), (0.25, -0.15), (0.25, 0.15), (-0.25, 0.15)])
        cart = jnp.stack([corners, jnp.roll(corners, 1, 0)], 1)
        pole = jnp.stack([foot, foot + 2 * _HALF * jnp.stack([jnp.sin(angle), jnp.cos(angle)])])
        track = jnp.array([[(-_TRACK, -0.15), (_TRACK, -0.15)]], x.dtype)
        return jnp.concatenate([track, cart, pole[None]]).astype(x.dtype)

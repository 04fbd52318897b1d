"""What XLA must be told, platform by platform, to make fast programs."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

# Since jaxlib 0.10, XLA:CPU hands convolutions to YNNPACK, which takes up to twice Eigen's time
# for those of a CNN's gradients (0.10.2; on 0.12.0 it is nearer, and never much better). Naming the
# other kinds of operation leaves dots and reductions with YNNPACK and gives convolutions to Eigen.
_CPU = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}


def compiler_options(platform: str) -> dict[str, str]:
    """What to hand to `jax.jit(..., compiler_options=...)` for programs of a platform.

    Args:
      platform: 'cpu', 'gpu' or 'tpu', as `jax.default_backend()` says.

    Returns:
      Option names and values; empty where the installed XLA does not know them.
    """
    return dict(_CPU) if platform == "cpu" and _accepted() else {}


@functools.cache
def _accepted() -> bool:
    """Whether XLA takes the options: asked of it once, since they come and go with versions."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        probe = jax.jit(lambda x: x + 1, compiler_options=_CPU)
        try:
            probe.lower(jnp.zeros(())).compile()
        except (jax.errors.JaxRuntimeError, ValueError, TypeError):
            return False
    return True

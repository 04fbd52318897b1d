"""What XLA must be told, platform by platform, to make fast programs."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

# Since jaxlib 0.10, XLA:CPU hands convolutions to YNNPACK, which is slower than Eigen for most of a
# CNN's: single ones take up to twice the time on 0.10.2, a step of mnist_cnn 55 ms for 42 on
# 0.12.0. Naming the other kinds of operation leaves these with YNNPACK and convolutions with Eigen.
_CPU = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}

# Initialising draws random numbers, which LLVM optimises for seconds (mnist_cnn: 4.0 s, so 0.7 s).
_ONCE = {"xla_backend_optimization_level": 0}


def compiler_options(platform: str, once: bool = False) -> dict[str, str | int]:
    """What to hand to `jax.jit(..., compiler_options=...)` for programs of a platform.

    Args:
      platform: 'cpu', 'gpu' or 'tpu', as `jax.default_backend()` says.
      once: the program runs only once, so compiling it fast counts for more than its speed.

    Returns:
      Option names and values; empty where the installed XLA does not know them.
    """
    if platform != "cpu" or not _accepted():
        return {}
    return {**_CPU, **_ONCE} if once else dict(_CPU)


@functools.cache
def _accepted() -> bool:
    """Whether XLA takes the options: asked of it once, since they come and go with versions."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        probe = jax.jit(lambda x: x + 1, compiler_options=_CPU | _ONCE)
        try:
            probe.lower(jnp.zeros(())).compile()
        except (jax.errors.JaxRuntimeError, ValueError, TypeError):
            return False
    return True

"""How this process uses the machine: the memory of the C library, and the options of XLA."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys

# Parameters of mallopt(3), from <malloc.h>, and their values.
_KEEP = {
    -8: 1,  # M_ARENA_MAX: a thread's own arena maps whatever is larger than 64 MiB
    -4: 0,  # M_MMAP_MAX: no block is mapped for itself, and so unmapped when it is freed
    -1: -1,  # M_TRIM_THRESHOLD: never give back what is free at the end
}

_HUGEPAGE = 14  # MADV_HUGEPAGE of madvise(2)
_LARGE = 2 << 20  # bytes of a large page, or a multiple of them

_PLUGINS = ("jax_plugins", "libtpu")  # packages by which JAX finds GPUs and TPUs

# Since jaxlib 0.10, XLA:CPU gives convolutions to YNNPACK, which is slower than Eigen for most of a
# CNN's: single ones take up to twice the time on 0.10.2, a step of mnist_cnn 55 ms instead of 42 ms
# on 0.12.0. Naming only the other operations leaves convolutions to Eigen.
_CPU = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}

# Initialising draws random numbers, which LLVM spends seconds on (mnist_cnn: 4.0 s, now 0.7 s).
_ONCE = {"xla_backend_optimization_level": 0}


def keep_freed_memory() -> bool:
    """Make this process keep the memory that it frees, and use it again.

    XLA on a CPU allocates new buffers at each call. By default glibc maps such large blocks and
    unmaps them afterwards, so the kernel fills every page of them with zeros at every training
    step: a fifth of the processor time of ResNet-20's step. The memory is also asked for in large
    pages, up to half of the machine's memory: looking up small pages takes a thirtieth of
    ResNet-50's step. Call it before other threads start; the process never shrinks again.

    Returns:
      Whether it was done. It is not if the C library is not glibc; if the user has set glibc's
      allocator by MALLOC_… or GLIBC_TUNABLES; or if JAX may compute on a GPU or TPU, since many
      threads that decode images would wait for one another.
    """
    if sys.platform != "linux" or not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
        return False
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    if os.environ.get("JAX_PLATFORMS") != "cpu" and any(map(importlib.util.find_spec, _PLUGINS)):
        return False
    library = ctypes.CDLL(None)
    kept = all([library.mallopt(parameter, value) for parameter, value in _KEEP.items()])
    if kept:
        _in_large_pages(library, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return kept


def _in_large_pages(library: ctypes.CDLL, size: int) -> None:
    """Ask for large pages in the next `size` bytes of the heap.

    It only reserves addresses, and does nothing if the kernel refuses.
    """
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.free.argtypes = [ctypes.c_void_p]
    if block := library.malloc(size):
        first, end = -(-block // _LARGE) * _LARGE, (block + size) // _LARGE * _LARGE
        library.madvise(first, end - first, _HUGEPAGE)
        library.free(block)


def compiler_options(platform: str, once: bool = False) -> dict[str, str | int]:
    """The options to give to `jax.jit(..., compiler_options=...)` on a platform.

    Args:
      platform: 'cpu', 'gpu' or 'tpu', as from `jax.default_backend()`.
      once: the program runs only once, so compile it fast, whatever its speed.

    Returns:
      Names and values of options; empty if the installed XLA does not know them.
    """
    if platform != "cpu" or not _accepted():
        return {}
    return {**_CPU, **_ONCE} if once else dict(_CPU)


@functools.cache
def _accepted() -> bool:
    """Whether XLA accepts the options: they come and go with its versions."""
    import jax  # only here, since the memory is set up before JAX starts its threads
    import jax.numpy as jnp

    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        probe = jax.jit(lambda x: x + 1, compiler_options=_CPU | _ONCE)
        try:
            probe.lower(jnp.zeros(())).compile()
        except (jax.errors.JaxRuntimeError, ValueError, TypeError):
            return False
    return True

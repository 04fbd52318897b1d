"""How the C library keeps the memory of this process."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys

# Parameters of mallopt(3), from <malloc.h>, and what they are set to.
_KEEP = {
    -8: 1,  # M_ARENA_MAX: a thread's own arena maps whatever is larger than 64 MiB
    -4: 0,  # M_MMAP_MAX: no block is mapped for itself, and so unmapped when it is freed
    -1: -1,  # M_TRIM_THRESHOLD: never give back what is free at the end
}

_HUGEPAGE = 14  # MADV_HUGEPAGE of madvise(2)
_LARGE = 2 << 20  # bytes of a large page, or a multiple of them

_PLUGINS = ("jax_plugins", "libtpu")  # packages by which JAX finds GPUs and TPUs


def keep_freed_memory() -> bool:
    """Have this process keep the memory that it frees, and use it again.

    XLA on a CPU allocates what a call needs anew at each call. By default glibc maps such large
    blocks, and unmaps them afterwards, so that the system fills every page of them with zeros at
    every training step: of ResNet-20's step a fifth of the processors' time. What is kept also
    comes in large pages, where the system has them, up to half of the machine's memory: looking up
    small ones is a thirtieth of ResNet-50's step. To be called before other threads start; the
    process then stays as large as it once was.

    Returns:
      Whether it is so. It is not where the C library is another than glibc; where the user has set
      glibc's allocator by MALLOC_… or GLIBC_TUNABLES, which stands; or where JAX may compute on a
      GPU or TPU, since many threads that decode images would wait for one another.
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
    """Ask for large pages in so many bytes of the heap that no one has used yet.

    It only reserves addresses, and does nothing where the system refuses to.
    """
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.free.argtypes = [ctypes.c_void_p]
    if block := library.malloc(size):
        first, end = -(-block // _LARGE) * _LARGE, (block + size) // _LARGE * _LARGE
        library.madvise(first, end - first, _HUGEPAGE)
        library.free(block)

"""How the C library keeps memory, as the system counts the pages that it hands out."""

import os
import subprocess
import sys

import pytest

PAGES_AGAIN = """
import resource, sys, threading
from jaxdl.runtime import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = b"x" * (100 << 20)
    del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def twice():
    pages()
    print(kept, pages() * resource.getpagesize() >> 20)

thread = threading.Thread(target=twice)  # as XLA's calls are made
thread.start()
thread.join()
"""
_GLIBC = sys.platform == "linux" and (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")


def _said(program, *arguments, **environment):
    """What a program prints, in an environment where the allocator is not set."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=plain | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def _again(how, **environment):
    """Whether memory is kept, and how many of 100 MiB are mapped when they are asked for again."""
    kept, mib = _said(PAGES_AGAIN, how, **environment)
    return kept == "True", int(mib)


@pytest.mark.skipif(not _GLIBC, reason="needs glibc")
def test_a_block_that_was_freed_is_not_mapped_again():
    # Huge pages would hide it: the second count is of pages of any size, so a loose bound.
    kept, mib = _again("keep")
    assert kept and mib <= 1
    assert _again("leave")[1] > mib


@pytest.mark.skipif(not _GLIBC, reason="needs glibc")
def test_many_threads_may_work_beside_an_accelerator(tmp_path):
    (tmp_path / "jax_plugins").mkdir()
    path = os.pathsep.join([str(tmp_path), *sys.path])
    assert not _again("keep", PYTHONPATH=path, JAX_PLATFORMS="")[0]
    assert _again("keep", PYTHONPATH=path, JAX_PLATFORMS="cpu")[0]


@pytest.mark.skipif(not _GLIBC, reason="needs glibc")
@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_user_set_stands(name):
    value = "2" if name == "MALLOC_ARENA_MAX" else "glibc.malloc.arena_max=2"
    assert not _again("keep", **{name: value})[0]


LARGE = """
from jaxdl.runtime import keep_freed_memory
assert keep_freed_memory()
block = b"x" * (100 << 20)
parts = open("/proc/self/smaps").read().split("[heap]")[1:]
print(sum(int(part.split("AnonHugePages:")[1].split()[0]) for part in parts))
"""


def _large_pages():
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            return "[never]" not in file.read()
    except OSError:
        return False


@pytest.mark.skipif(not (_GLIBC and _large_pages()), reason="needs glibc and large pages")
def test_memory_comes_in_large_pages():
    (kibibytes,) = _said(LARGE, JAX_PLATFORMS="cpu")
    assert int(kibibytes) >= 50 << 10  # most of them, unless memory is all in pieces

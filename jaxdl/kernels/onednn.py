"""oneDNN's convolutions, products and batch norm on the CPU, through XLA's foreign functions.

An optional extra (`pip install -e '.[onednn]'`): oneDNN convolves faster than XLA where channels
are few, and for the kernel's gradient, multiplies matrices of bfloat16 several times as fast, and
reads a batch that it normalises fewer times. The sources, `onednn_*.cc`, are compiled against the
installed JAX and oneDNN once, by the local C++ compiler, and kept in the user's cache folder.
Nothing needs it: if it is absent, cannot be built, or `JAXDL_ONEDNN=0`, XLA computes instead.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import math
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax.typing import DTypeLike

from jaxdl import caches
from jaxdl.kernels.geometry import Geometry, Shape, sizes

HEADER = Path(__file__).with_suffix(".h")
SOURCES = [
    HEADER.with_name(f"onednn_{name}.cc") for name in ("convolution", "batch_norm", "matmul")
]
FOREIGN_CALLS = {
    name: f"jaxdl_onednn_{name}"
    for name in (
        "forward", "input_gradient", "kernel_gradient", "batch_norm", "batch_norm_gradient",
        "matmul",
    )
}  # fmt: skip
PACKAGES = {  # and a file of each, from which the others are located
    "onednn-cpu-gomp": "libdnnl.so.3",
    "onednn-devel-cpu-gomp": "oneapi/dnnl/dnnl.hpp",
}

# Below these a call costs more than it saves: multiplications, and numbers to be normalised.
_LEAST = 1_000_000
_LEAST_NORMALISED = 100_000

_portable = ContextVar("portable", default=False)


@contextmanager
def portable() -> Iterator[None]:
    """Within, programs are traced without oneDNN, so that they also run in other processes.

    oneDNN's functions are registered under `FOREIGN_CALLS` in this process alone.
    """
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def pays(name: str, a: jax.Array, b: jax.Array, shape: Shape) -> bool:
    """Whether oneDNN is available and faster for `name`, one of a convolution's functions."""
    outputs, kernel = sizes(name, a, b, shape)
    return math.prod(outputs) * math.prod(kernel[:3]) >= _LEAST and _takes(a.dtype)


def pays_normalising(x: jax.Array) -> bool:
    """Whether oneDNN is available and faster for the batch norm of x (groups, rows, channels)."""
    return x.size >= _LEAST_NORMALISED and _takes(x.dtype) and _mask_bytes(x) >= 0


def pays_multiplying(products: int, dtype: jnp.dtype) -> bool:
    """Whether oneDNN is available and faster for matrices of so many products: in bfloat16."""
    return products >= _LEAST and dtype == jnp.bfloat16 and _takes(dtype)


def _takes(dtype: jnp.dtype) -> bool:
    """Whether oneDNN is available for arrays of this type.

    It computes float32, and bfloat16 on a CPU that multiplies it, on the one CPU device of a
    process: XLA does not divide a foreign call among several.
    """
    if dtype not in (jnp.float32, jnp.bfloat16):
        return False
    if jax.default_backend() != "cpu" or jax.device_count() != 1 or not available():
        return False
    return dtype == jnp.float32 or has_bfloat16()


def convolve(name: str, a: jax.Array, b: jax.Array, shape: Shape, geometry: Geometry) -> jax.Array:
    """One of a convolution's three functions, of float32 or bfloat16 arrays; not differentiable.

    Args:
      name: 'forward', 'input_gradient' or 'kernel_gradient'.
      a, b: as `jaxdl.kernels.geometry.Bilinear` says.
      shape: of the result.
      geometry: of the convolution. oneDNN always computes in full precision.
    """
    call = jax.ffi.ffi_call(
        FOREIGN_CALLS[name], jax.ShapeDtypeStruct(shape, a.dtype), vmap_method="sequential"
    )
    return call(
        a,
        b,
        strides=np.array(geometry.strides, np.int64),
        pads=np.array(geometry.pads, np.int64).reshape(-1),
        dilation=np.array(geometry.dilation, np.int64),
        groups=np.int64(geometry.groups),
    )


def matmul(
    a: jax.Array, b: jax.Array, transpose_a: bool, transpose_b: bool, dtype: DTypeLike
) -> jax.Array:
    """The product of two matrices, summed in float32; not differentiable.

    Args:
      a, b: both float32, or both bfloat16.
      transpose_a, transpose_b: multiply the transpose.
      dtype: of the result, the same or float32.
    """
    result = jax.ShapeDtypeStruct((a.shape[transpose_a], b.shape[1 - transpose_b]), dtype)
    call = jax.ffi.ffi_call(FOREIGN_CALLS["matmul"], result, vmap_method="sequential")
    return call(a, b, transpose_left=transpose_a, transpose_right=transpose_b)


class Saved(NamedTuple):
    """What the gradient of a batch that was normalised needs beside the batch.

    Attributes:
      mean: of each group, (groups, 1, channels), in float32 or wider.
      var: biased, likewise.
      mask: where a ReLU's results are positive, in oneDNN's own order, (groups, bytes); None
        without oneDNN.
    """

    mean: jax.Array
    var: jax.Array
    mask: jax.Array | None


def normalise(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, relu: bool
) -> tuple[jax.Array, Saved]:
    """`jaxdl.kernels.batch_norm` of x (groups, rows, channels); not differentiable.

    Args:
      x: float32 or bfloat16.
      scale, bias: float32, (channels,).
      epsilon: added to the variance.
      relu: apply max(0, ·) to the result.
    """
    groups, _, channels = x.shape
    statistics = jax.ShapeDtypeStruct((groups, 1, channels), jnp.float32)
    results = (jax.ShapeDtypeStruct(x.shape, x.dtype), statistics, statistics, mask_of(x, relu))
    call = jax.ffi.ffi_call(FOREIGN_CALLS["batch_norm"], results, vmap_method="sequential")
    y, *saved = call(x, scale, bias, epsilon=np.float32(epsilon), relu=relu)
    return y, Saved(*saved)


def mask_of(x: jax.Array, relu: bool) -> jax.ShapeDtypeStruct:
    """The shape and type of the mask of x (groups, rows, channels)."""
    return jax.ShapeDtypeStruct((len(x), _mask_bytes(x) if relu else 0), jnp.uint8)


def normalise_gradient(
    dy: jax.Array, x: jax.Array, scale: jax.Array, saved: Saved, epsilon: float, relu: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The gradients of x, and of scale and bias by each group, (groups, 1, channels)."""
    parameters = jax.ShapeDtypeStruct(saved.mean.shape, jnp.float32)
    results = (jax.ShapeDtypeStruct(x.shape, x.dtype), parameters, parameters)
    call = jax.ffi.ffi_call(FOREIGN_CALLS["batch_norm_gradient"], results, vmap_method="sequential")
    dx, dscale, dbias = call(dy, x, scale, *saved, epsilon=np.float32(epsilon), relu=relu)
    return dx, dscale, dbias


def _mask_bytes(x: jax.Array) -> int:
    """The bytes of a group's mask, or -1 where oneDNN has no such batch norm."""
    handlers = _loaded()
    assert handlers is not None
    function = handlers.jaxdl_onednn_mask_bytes
    function.argtypes = ctypes.c_bool, ctypes.c_int64, ctypes.c_int64
    function.restype = ctypes.c_int64
    return function(x.dtype == jnp.bfloat16, *x.shape[1:])


def available() -> bool:
    """Whether oneDNN works here; builds what it needs when first asked.

    Logs one warning if oneDNN is installed and cannot be used.
    """
    disabled = os.environ.get("JAXDL_ONEDNN") == "0" or _portable.get()
    return not disabled and _loaded() is not None


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself; others are slower at it than at float32.

    Call it only if oneDNN is `available`.
    """
    handlers = _loaded()
    assert handlers is not None
    function = handlers.jaxdl_onednn_has_bfloat16
    function.restype = ctypes.c_bool
    return function()


class _Unusable(Exception):
    """Why oneDNN, though installed, cannot be used, and the remedy."""


@functools.cache
def _loaded() -> ctypes.CDLL | None:
    try:
        library, header = (_locate(package, file) for package, file in PACKAGES.items())
    except metadata.PackageNotFoundError:
        return None
    try:
        built = _built(library, header.parents[2])
        if built is None:
            return None
        handlers = _load(built)
    except _Unusable as why:
        logging.getLogger("jaxdl").warning(
            "oneDNN: %s; until then, or with JAXDL_ONEDNN=0, XLA computes alone", why
        )
        return None
    for target in FOREIGN_CALLS.values():
        handler = jax.ffi.pycapsule(getattr(handlers, target))
        jax.ffi.register_ffi_target(target, handler, platform="cpu")
    return handlers


def _locate(package: str, file: str) -> Path:
    """A file of an installed package.

    Raises:
      metadata.PackageNotFoundError: it is not installed.
    """
    for path in metadata.distribution(package).files or ():
        if path.as_posix().endswith(file):
            return Path(str(path.locate())).resolve()
    raise metadata.PackageNotFoundError(package)


def _load(path: Path) -> ctypes.CDLL:
    # OpenMP's threads wait for more work by spinning, some milliseconds by default, on the CPUs
    # that XLA's threads go on to use. This, which is about 0.1 ms, is read as the library loads.
    settings = os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    if not settings:
        os.environ["GOMP_SPINCOUNT"] = "10000"
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise _Unusable(f"{path} does not load ({error}); delete it to build it again") from error
    finally:
        if not settings:
            del os.environ["GOMP_SPINCOUNT"]


def _built(library: Path, include: Path) -> Path | None:
    """The compiled sources: one for each version of all that goes into it.

    None if there is no usable cache folder, of which `caches.usable` has warned.
    """
    compiler = _compiler()
    version = _run([*compiler, "--version"], "cannot be asked its version")
    command = [
        *compiler, "-O2", "-std=c++17", "-shared", "-fPIC", "-w",
        f"-I{jax.ffi.include_dir()}", f"-I{include}",
        *map(str, SOURCES), str(library), f"-Wl,-rpath,{library.parent}",
    ]  # fmt: skip
    oneDNN = metadata.version("onednn-cpu-gomp")
    sources = [path.read_text() for path in (HEADER, *SOURCES)]
    made_of = [*sources, jaxlib.__version__, version, oneDNN, *command]
    folder = caches.usable("onednn")
    if folder is None:
        return None
    path = folder / f"{hashlib.sha256(chr(0).join(made_of).encode()).hexdigest()}.so"
    if caches.sound(path):
        return path
    try:
        with tempfile.TemporaryDirectory(dir=folder) as work:  # several processes may build
            fresh = Path(work, path.name)
            _run([*command, "-o", str(fresh)], "cannot compile it")
            fresh.chmod(0o600)  # whatever the umask: one that others can write is not loaded
            os.replace(fresh, path)
    except OSError as error:
        raise _Unusable(f"{folder} cannot be written ({error}); set XDG_CACHE_HOME") from error
    return path


def _compiler() -> list[str]:
    """The command of a C++ compiler: CXX, or the first of the usual ones."""
    if command := shlex.split(os.environ.get("CXX", "")):
        return command
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    raise _Unusable("no C++ compiler is found; install g++ or clang++, or set CXX")


def _run(command: list[str], trouble: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise _Unusable(f"{command[0]} does not run ({error}); set CXX") from error
    if done.returncode:
        lines = done.stderr.splitlines() or ["it gives no reason"]
        fault = next((line for line in lines if "error" in line), lines[0])
        raise _Unusable(f"{command[0]} {trouble}: {fault}; install another, or set CXX")
    return done.stdout

"""What happens inside a Flax module: the outputs of each module in it, and what they lead to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
from jax import lax


def run_inside(
    apply: Callable[[Callable[[nn.Module, str], bool]], tuple[Any, Any]],
    added: Mapping[str, Any],
    plain: bool = False,
) -> tuple[Any, dict[str, Any]]:
    """The outputs of a module, and those of all modules in it by their paths.

    Args:
      apply: applies the module: (filter) -> (outputs, collections), where the filter is Linen's
        `capture_intermediates`, and the collection `intermediates` holds what was captured.
      added: path -> what is added to the outputs of the module there. The gradient for it, at 0, is
        that for those outputs.
      plain: convolutions are XLA's own, in which a number touches those outputs alone whose window
        it lies in. Of the faster ones of `jaxdl.kernels` some cancel out what lies beyond, but for
        a trace of rounding.

    Returns:
      Both; the modules in the order in which they were first done, and of a module that is called
      several times the last outputs.
    """
    order: dict[str, None] = {}

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        path = "/".join(context.module.path)
        with _plain(context.module) if plain else contextlib.nullcontext():
            outputs = call(*args, **kwargs)
        if context.method_name != "__call__":
            return outputs
        order.setdefault(path)
        return outputs + added[path] if path in added else outputs

    with nn.intercept_methods(intercept):
        outputs, collections = apply(lambda module, method: method == "__call__")
    captured = outputs_by_path(collections.get("intermediates", {}))
    return outputs, {path: captured[path] for path in order if path in captured}


def outputs_by_path(captured: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Path -> the last outputs of each module, from what Linen captured."""
    outputs: dict[str, Any] = {}
    for name, inner in captured.items():
        if isinstance(inner, Mapping):
            outputs |= outputs_by_path(inner, f"{path}/{name}".lstrip("/"))
        elif name == "__call__" and path:
            outputs[path] = inner[-1]
    return outputs


@contextlib.contextmanager
def _plain(module: nn.Module) -> Iterator[None]:
    """Until the block ends, a convolution is computed by XLA."""
    faster = getattr(module, "conv_general_dilated", None)
    if faster is None:
        yield
        return
    # Linen freezes modules against slips; here it is meant, and undone.
    object.__setattr__(module, "conv_general_dilated", lax.conv_general_dilated)
    try:
        yield
    finally:
        object.__setattr__(module, "conv_general_dilated", faster)

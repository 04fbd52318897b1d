"""A run's network as ONNX, by jax2onnx, and how far ONNX Runtime's outputs are from JAX's.

    python3 -m venv onnx && onnx/bin/pip install jax2onnx && onnx/bin/pip install -e .
    onnx/bin/python experiments/to_onnx.py --workdir runs/digits --output digits.onnx

It needs an environment of its own: jax2onnx (0.17.1) asks for an older orbax-checkpoint than jaxdl,
which pip reports, and which neither misses. The file is of `outputs`, as `jaxdl export` names them,
from raw columns; weights and transforms are in it. Each call takes `--batch` examples.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from arguments import count, in_one_line

from jaxdl import kernels
from jaxdl.checkpointing.run_directory import Run
from jaxdl.checkpointing.weight_names import flat
from jaxdl.cli.options import check_creatable
from jaxdl.errors import UserError, first_line
from jaxdl.files import existing_run, make_parent, replace_bytes
from jaxdl.inference.export import make_program
from jaxdl.inference.inputs import columns_read
from jaxdl.inference.restored import RestoredRun
from jaxdl.terminal import say

_CLOSE = 1e-4  # of outputs of ONNX Runtime and of JAX, relative to the largest


def main(options: argparse.Namespace) -> None:
    folder = existing_run(options.workdir)
    check_creatable(options.output, "--output", (".onnx",))
    for package in ("jax2onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"the package {package} is not installed; see the head of experiments/to_onnx.py"
            )
    run = RestoredRun(Run(folder))
    program = partial(make_program(run), flat(run.state.eval_params, run.state.model_state))
    columns = {
        name: jax.ShapeDtypeStruct((options.batch, *column["shape"]), column["dtype"])
        for name, column in run.columns.items()
    }
    with kernels.portable():
        names = sorted(columns_read(program, columns))
        if "outputs" not in jax.eval_shape(program, {name: columns[name] for name in names}):
            raise UserError(f"{folder}: its outputs are several arrays; use `jaxdl export`")

        def outputs(*values: Any) -> Any:
            return program(dict(zip(names, values, strict=True)))["outputs"]

        model = converted(outputs, names, [columns[name] for name in names])
        inputs = [drawn(columns[name]) for name in names]
        expected = np.asarray(jax.jit(outputs)(*inputs))
    found = answered(model, dict(zip(names, inputs, strict=True)))
    error = float(np.max(np.abs(found - expected)) / max(1.0, np.max(np.abs(expected))))
    if not error <= _CLOSE:
        raise UserError(f"ONNX Runtime's outputs differ from JAX's by {error:.2g}; nothing written")
    replace_bytes(make_parent(Path(options.output)), model)
    say(f"{options.output}: {', '.join(names)} -> outputs, {options.batch} examples a call")
    say(f"ONNX Runtime's outputs are JAX's, but for {error:.2g}")


def converted(function: Any, names: Sequence[str], columns: Sequence[Any]) -> bytes:
    """The function as an ONNX model."""
    from jax2onnx import to_onnx

    try:
        model = to_onnx(function, columns, input_names=names, output_names=["outputs"])
    except Exception as error:  # whatever jax2onnx raises for an operation that it lacks
        reason = f"({type(error).__name__}: {first_line(error, 200)})"
        raise UserError(f"jax2onnx cannot convert it {reason}; use `jaxdl export`") from error
    return model.SerializeToString()


def drawn(column: Any) -> np.ndarray:
    """Any values of a column."""
    rng = np.random.default_rng(0)
    if np.issubdtype(column.dtype, np.integer):
        return rng.integers(0, 2, column.shape).astype(column.dtype)
    return rng.normal(size=column.shape).astype(column.dtype)


def answered(model: bytes, columns: dict[str, np.ndarray]) -> np.ndarray:
    """The outputs of ONNX Runtime, on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, columns)
    return outputs


def command(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="a run")
    parser.add_argument("--output", required=True, help="the file to write (.onnx)")
    parser.add_argument("--batch", type=count, default=1, help="examples of a call (1)")
    options = parser.parse_args(words)
    with in_one_line(parser):
        main(options)


if __name__ == "__main__":
    command()

"""Export of a trained run: three files that need neither jaxdl nor the run.

    model.safetensors   path, such as `conv1/kernel` -> array, for all parameters (their moving
                        average if there is one) and batch statistics
    model.stablehlo     the program, by `jax.export`, for CPU, CUDA and TPU: from raw columns, such
                        as uint8 images, through `config.data.transforms`, to outputs and
                        predictions
    model.json          inputs and outputs, classes, vocabularies, config, and the SHA-256 of the
                        others
    torch.safetensors   if asked for: the arrays once more, by the names and axes that the same
                        network has in PyTorch (`conv1.weight`: outputs, inputs, height, width)

The program takes the arrays as an argument, so they are stored once and others can read them. JAX,
its `flatbuffers` and safetensors are enough to run it:

    import numpy as np
    from jax import export
    from safetensors.numpy import load_file

    weights = load_file("digits/model.safetensors")
    with open("digits/model.stablehlo", "rb") as file:
        model = export.deserialize(bytearray(file.read()))
    results = model.call(weights, {"image": np.zeros((5, 8, 8, 1), np.uint8)})
    print(results["prediction"], results["outputs"])

A call takes any number of examples, or as many as `--batch` says. Tokens must be padded with 0 at
the end; a language model does not read the last one. Images that the run crops must be cropped, one
view of each. Images for a detector must be scaled to fit the canvas, in its upper left corner, with
their (height, width) there as `extent`; boxes are predicted on the canvas. Where model.json has
`"x64": true`, call `jax.config.update("jax_enable_x64", True)` first. JAX guarantees to run such a
program for at least six months after the release that wrote it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export as programs
from safetensors.numpy import save

from jaxdl import kernels
from jaxdl.checkpointing.run_directory import Run
from jaxdl.checkpointing.weight_names import flat, to_torch
from jaxdl.errors import UserError, reason
from jaxdl.files import refuse_links, replace_bytes, unwritable
from jaxdl.inference.inputs import columns_read
from jaxdl.inference.restored import RestoredRun
from jaxdl.json_files import write_json
from jaxdl.training.check import PLATFORMS
from jaxdl.training.state import State, count
from jaxdl.training.step import forward

WEIGHTS, PROGRAM, DESCRIPTION = "model.safetensors", "model.stablehlo", "model.json"
TORCH = "torch.safetensors"
_FRAMES = "jax_traceback_in_locations_limit"
_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "safetensors")

Outputs = dict[str, jax.Array]  # name -> array, (batch, …)


def export(
    run: Run, output: Path, batch: int | None = None, force: bool = False, torch: bool = False
) -> dict[str, Any]:
    """Write the weights of a run, and the program that uses them.

    Args:
      run: with a sound checkpoint; its data is not needed.
      output: the folder; made if it does not exist.
      batch: examples of a call; by default any number.
      force: replace an earlier export in the folder.
      torch: write the arrays under PyTorch's names, too.

    Returns:
      The content of model.json.

    Raises:
      UserError: the run has no sound checkpoint; the folder is not empty, or cannot be written; or
        the model cannot be exported.
    """
    _check_folder(output, force)
    restored = RestoredRun(run)
    with restored.precision.enabled():
        state = restored.state
        arrays = flat(state.eval_params, state.model_state)
        program, serialized = _exported(restored, arrays, batch)
        files = {WEIGHTS: save(jax.tree.map(np.asarray, arrays)), PROGRAM: serialized}
        if torch:
            files[TORCH] = save(to_torch(state.eval_params, state.model_state))
    description = _description(restored, run.config(), program)
    description["sha256"] = {k: hashlib.sha256(file).hexdigest() for k, file in files.items()}
    try:
        output.mkdir(parents=True, exist_ok=True)
        # model.json vouches for the others; torch.safetensors may not be written this time.
        for name in (DESCRIPTION, TORCH):
            (output / name).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(output, error) from None
    for name, file in files.items():
        replace_bytes(output / name, file)
    write_json(output / DESCRIPTION, description)
    return description


def make_program(
    run: RestoredRun,
) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Outputs]:
    """The pure function `(arrays, batch) -> outputs` that is exported.

    Arrays are named as by `jaxdl.checkpointing.weight_names.flat`; a batch has the columns of the
    data. The result has the task's predictions, by their names or as `prediction`, and the model's
    outputs, if they are one array, as `outputs`.
    """
    state, task = run.state, run.task
    trees = (state.eval_params, *state.model_state.values())
    names, structure = list(flat(state.eval_params, state.model_state)), jax.tree.structure(trees)

    def program(arrays: Mapping[str, Any], batch: Mapping[str, Any]) -> Outputs:
        params, *others = jax.tree.unflatten(structure, [arrays[name] for name in names])
        current = State(
            step=state.step,
            seed=state.seed,
            params=params,
            model_state=dict(zip(state.model_state, others, strict=True)),
            opt_state=None,
        )
        batch = run.transforms.always(batch, state.key("transform"))
        outputs, *_ = forward(run.model, task, run.precision, params, current, batch, None)
        predicted = task.predict(outputs, batch)
        named = dict(predicted) if isinstance(predicted, Mapping) else {"prediction": predicted}
        return {"outputs": outputs, **named} if hasattr(outputs, "shape") else named

    return program


def _exported(
    run: RestoredRun, arrays: Mapping[str, Any], batch: int | None
) -> tuple[programs.Exported, bytes]:
    """The program for all platforms, and for `batch` examples or any number; and its bytes."""
    program, weights = make_program(run), jax.eval_shape(lambda: dict(arrays))

    def example(arrays: Any, one: Any) -> Any:
        outputs = program(arrays, jax.tree.map(lambda x: x[None], one))
        return jax.tree.map(lambda x: x[0], outputs)

    # Models use the size of their batch, which is a symbol here; so they see one example each.
    size = programs.symbolic_shape("batch")[0] if batch is None else batch
    function = jax.vmap(example, (None, 0)) if batch is None else program
    try:
        with _portable():
            used = columns_read(functools.partial(program, arrays), run.shapes(1))
            inputs = {name: column for name, column in run.shapes(size).items() if name in used}
            exported = programs.export(jax.jit(function), platforms=PLATFORMS)(weights, inputs)
            return exported, bytes(exported.serialize())
    except UserError:
        raise
    except Exception as error:  # JAX raises many types for what it cannot export
        remedy = "; a fixed batch size, --batch N, may work" if batch is None else ""
        raise UserError(f"config.model: cannot be exported ({reason(error)}){remedy}") from error


@contextlib.contextmanager
def _portable() -> Iterator[None]:
    """Until the block ends, programs are independent of this machine.

    Convolutions are XLA's own, since only this process has oneDNN's, and operations do not record
    the source files, here, that they come from.
    """
    frames = getattr(jax.config, _FRAMES)
    jax.config.update(_FRAMES, 0)
    try:
        with kernels.portable():
            yield
    finally:
        jax.config.update(_FRAMES, frames)


def _description(
    run: RestoredRun, config: Mapping[str, Any], program: programs.Exported
) -> dict[str, Any]:
    """The content of model.json without the digests."""
    (_, columns), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    outputs = jax.tree.unflatten(program.out_tree, program.out_avals)
    state, data = run.state, config["data"]
    return {
        "step": int(state.step),
        "parameters": count(state.params),
        "average": state.ema is not None,
        "inputs": {name: _shape(aval) for name, aval in columns.items()},
        "outputs": {name: _shape(aval) for name, aval in outputs.items()},
        "x64": any(aval.dtype.itemsize == 8 for aval in (*program.in_avals, *program.out_avals)),
        "classes": list(run.classes),
        "vocabularies": {name: v.to_json() for name, v in run.vocabularies.items()},
        "preprocessing": {  # of images: crop or fit before the program, the transforms within it
            "crop": data.get("crop"),
            "fit": run.fit,
            "transforms": data.get("transforms", ()),
        },
        "model": config["model"],
        "task": config["task"],
        "precision": config.get("precision", {}),
        "platforms": list(program.platforms),
        "versions": {
            "calling_convention": program.calling_convention_version,
            **{name: metadata.version(name) for name in _PACKAGES},
        },
    }


def _shape(aval: Any) -> dict[str, Any]:
    """Type and shape; the first axis is 'batch' if it may have any length."""
    shape = [n if isinstance(n, int) else str(n) for n in aval.shape]
    return {"dtype": aval.dtype.name, "shape": shape}


def _check_folder(output: Path, force: bool) -> None:
    """Check that a folder is empty, or, with `force`, holds nothing but an earlier export."""
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output}: is a file; name a folder")
    refuse_links(output)
    names = [path.name for path in output.iterdir()] if output.exists() else []
    if strangers := sorted({*names} - {WEIGHTS, PROGRAM, DESCRIPTION, TORCH}):
        raise UserError(f"--output {output}: holds {strangers[0]!r}; choose a new folder")
    if names and not force:
        raise UserError(
            f"--output {output}: holds an export; choose a new folder, or replace it with --force"
        )

"""Taking what a run has learnt elsewhere: three files that need neither jaxdl nor the run.

    model.safetensors   name -> array of all that was learnt, the average where one was kept; names
                        are paths, such as `conv1/kernel`
    model.stablehlo     the program, by `jax.export`: from raw columns, such as uint8 images, to
                        outputs and predictions, `config.data.transforms` and all, for CPU, CUDA
                        and TPU
    model.json          what goes in and comes out, classes, vocabularies, config, and the SHA-256
                        of the other two

The program takes the arrays as an argument, so that they are stored once and others can read them.
JAX, its `flatbuffers` and safetensors are enough to run it:

    import numpy as np
    from jax import export
    from safetensors.numpy import load_file

    weights = load_file("digits/model.safetensors")
    with open("digits/model.stablehlo", "rb") as file:
        model = export.deserialize(bytearray(file.read()))
    found = model.call(weights, {"image": np.zeros((5, 8, 8, 1), np.uint8)})
    print(found["prediction"], found["outputs"])

A call takes any number of examples, or as many as `--batch` says; tokens are padded with 0 at the
end, and a language model does not read the last. Images that the run crops come cropped, one view
of each. Pictures with boxes come scaled to fit the canvas, in its upper left corner, and `extent`
is their (height, width) there; the boxes found are on the canvas. Where model.json says
`"x64": true`, JAX must be told first: `jax.config.update("jax_enable_x64", True)`. JAX promises to
run such a program for at least six months after the release that wrote it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export as programs
from safetensors.numpy import save

from jaxdl.errors import UserError
from jaxdl.files import refuse_links, replace_bytes, unwritable
from jaxdl.models.pretrained import flat
from jaxdl.runs import Run, write_json
from jaxdl.training.check import PLATFORMS
from jaxdl.training.learnt import Learnt
from jaxdl.training.state import State, count
from jaxdl.training.step import forward

WEIGHTS, PROGRAM, DESCRIPTION = "model.safetensors", "model.stablehlo", "model.json"
_FRAMES = "jax_traceback_in_locations_limit"
_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "safetensors")

Found = dict[str, jax.Array]  # name -> array, (batch, …)


def export(run: Run, output: Path, batch: int | None = None, force: bool = False) -> dict[str, Any]:
    """Write what a run has learnt, and the program that uses it.

    Args:
      run: with a sound checkpoint; its data is not needed.
      output: the folder; made if it does not exist.
      batch: examples a call; by default any number.
      force: replace an earlier export there.

    Returns:
      What model.json says.

    Raises:
      UserError: nothing was saved, or nothing that is sound; the folder holds something, or
        cannot be written; the model cannot be exported.
    """
    _vacant(output, force)
    learnt = Learnt(run)
    with learnt.precision.enabled():
        state = learnt.state
        arrays = flat(state.evaluated, state.variables)
        program, serialized = _exported(learnt, arrays, batch)
        files = {WEIGHTS: save(jax.tree.map(np.asarray, arrays)), PROGRAM: serialized}
    description = _described(learnt, run.config(), program)
    description["sha256"] = {k: hashlib.sha256(file).hexdigest() for k, file in files.items()}
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / DESCRIPTION).unlink(missing_ok=True)  # it stands for the others being whole
    except OSError as error:
        raise unwritable(output, error) from None
    for name, file in files.items():
        replace_bytes(output / name, file)
    write_json(output / DESCRIPTION, description)
    return description


def make_program(learnt: Learnt) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Found]:
    """The pure function `(arrays, batch) -> found` that is exported.

    Arrays are those of `jaxdl.models.pretrained.flat`, of a batch the columns as the data has them.
    What is found has the task's predictions, by their names or as `prediction`, and where they are
    one array the model's `outputs`.
    """
    state, task = learnt.state, learnt.task
    trees = (state.evaluated, *state.variables.values())
    names, structure = list(flat(state.evaluated, state.variables)), jax.tree.structure(trees)

    def program(arrays: Mapping[str, Any], batch: Mapping[str, Any]) -> Found:
        params, *others = jax.tree.unflatten(structure, [arrays[name] for name in names])
        given = State(
            step=state.step,
            seed=state.seed,
            params=params,
            variables=dict(zip(state.variables, others, strict=True)),
            opt_state=None,
        )
        batch = learnt.transform(batch, state.key("transform"))
        outputs, *_ = forward(learnt.model, task, learnt.precision, params, given, batch, None)
        predicted = task.predict(outputs, batch)
        found = dict(predicted) if isinstance(predicted, Mapping) else {"prediction": predicted}
        return found if not hasattr(outputs, "shape") else {"outputs": outputs, **found}

    return program


def _exported(
    learnt: Learnt, arrays: Mapping[str, Any], batch: int | None
) -> tuple[programs.Exported, bytes]:
    """The program, for each platform and any number of examples, or for so many; and its bytes."""
    program, weights = make_program(learnt), jax.eval_shape(lambda: dict(arrays))

    def example(arrays: Any, one: Any) -> Any:
        found = program(arrays, jax.tree.map(lambda x: x[None], one))
        return jax.tree.map(lambda x: x[0], found)

    def columns(size: Any) -> dict[str, jax.ShapeDtypeStruct]:
        return {
            name: jax.ShapeDtypeStruct((size, *column["shape"]), column["dtype"])
            for name, column in learnt.columns.items()
        }

    # Models look at how large their batch is, which has no number here; so each sees one example.
    size = programs.symbolic_shape("batch")[0] if batch is None else batch
    function = jax.vmap(example, (None, 0)) if batch is None else program
    try:
        with _portable():
            read = _read(program, weights, columns(1))
            given = {name: column for name, column in columns(size).items() if name in read}
            exported = programs.export(jax.jit(function), platforms=PLATFORMS)(weights, given)
            return exported, bytes(exported.serialize())
    except UserError:
        raise
    except Exception as error:  # JAX raises many types where something cannot be
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        way = "; --batch N, for so many examples a call, may do" if batch is None else ""
        fault = f"({type(error).__name__}: {reason}){way}"
        raise UserError(f"config.model: cannot be exported {fault}") from error


def _read(program: Callable, weights: Any, columns: Any) -> set[str]:
    """The columns that the program reads; labels, say, are not among them."""
    traced = jax.make_jaxpr(program)(weights, columns).jaxpr
    inputs = dict(zip(traced.invars[len(weights) :], sorted(columns), strict=True))
    taken = [*traced.outvars, *(v for equation in traced.eqns for v in equation.invars)]
    return {inputs[v] for v in taken if not hasattr(v, "val") and v in inputs}


@contextlib.contextmanager
def _portable() -> Iterator[None]:
    """Within, a program has nothing of this machine.

    Convolutions are XLA's own, since oneDNN's are known to this process alone, and no operation
    says in which file, here, it was written.
    """
    frames, onednn = getattr(jax.config, _FRAMES), os.environ.get("JAXDL_ONEDNN")
    jax.config.update(_FRAMES, 0)
    os.environ["JAXDL_ONEDNN"] = "0"
    try:
        yield
    finally:
        jax.config.update(_FRAMES, frames)
        del os.environ["JAXDL_ONEDNN"]
        if onednn is not None:
            os.environ["JAXDL_ONEDNN"] = onednn


def _described(
    learnt: Learnt, config: Mapping[str, Any], program: programs.Exported
) -> dict[str, Any]:
    """What model.json says, but for the digests."""
    (_, columns), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    found = jax.tree.unflatten(program.out_tree, program.out_avals)
    state, data = learnt.state, config["data"]
    return {
        "step": int(state.step),
        "parameters": count(state.params),
        "average": state.average is not None,
        "inputs": {name: _shape(aval) for name, aval in columns.items()},
        "outputs": {name: _shape(aval) for name, aval in found.items()},
        "x64": any(aval.dtype.itemsize == 8 for aval in (*program.in_avals, *program.out_avals)),
        "classes": list(learnt.classes),
        "vocabularies": {name: v.to_json() for name, v in learnt.vocabularies.items()},
        "preprocessing": {  # what an image goes through before the program, and within it
            "crop": data.get("crop"),
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
    """The first axis is 'batch' where it may be of any length."""
    shape = [n if isinstance(n, int) else str(n) for n in aval.shape]
    return {"dtype": aval.dtype.name, "shape": shape}


def _vacant(output: Path, force: bool) -> None:
    """Refuse a folder that holds anything, or, by force, anything but an earlier export."""
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output}: is a file; name a folder")
    refuse_links(output)
    held = [path.name for path in output.iterdir()] if output.exists() else []
    if strangers := sorted({*held} - {WEIGHTS, PROGRAM, DESCRIPTION}):
        raise UserError(f"--output {output}: holds {strangers[0]!r}; choose a new folder")
    if held and not force:
        raise UserError(
            f"--output {output}: holds an export; choose a new folder, or replace it with --force"
        )

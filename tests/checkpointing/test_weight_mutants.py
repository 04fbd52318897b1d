"""Weight files that are damaged, or forged, are read or refused in one line: no crash, no hang."""

import importlib.util
import os
import pickletools
import resource
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from fuzzing import message, mutants, shuffled
from safetensors.numpy import save_file
from test_weight_files import Call, archive, old, pickled, tensor

from jaxdl.checkpointing import weight_files as weights

VALUE = {
    "epoch": 90,
    "state_dict": {
        "whole": tensor(),
        "turned": tensor(shape=(3, 2), strides=(1, 3)),
        "scalar": tensor(shape=(), strides=(), offset=5),
        "learnt": Call("torch._utils._rebuild_parameter", tensor(), True, None),
    },
    "optimizer": {"state": {0: [tensor(), 0.5, None]}, "size": Call("torch.Size", (2, 3))},
}
PROGRAM = b"\x80\x02" + pickled(VALUE) + b"."
MEMORY = (
    b"q\x00",
    b"h\x00",
    b"(",
    b"t",
    b"\x85",
    b"\x86",
    b"a",
    b"s",
    b"R",
    b"Q",
    b"b",
    b"\x8a\x01\xff",
)
SUFFIXES = {"archive": ".pth", "old": ".pth", "safetensors": ".safetensors"}


def opcodes(program):
    """The opcodes of a pickle, each with its argument."""
    starts = [start for _, _, start in pickletools.genops(program)]
    return [program[a:b] for a, b in zip(starts, [*starts[1:], len(program)], strict=True)]


def sound_files(folder):
    """Paths of files that can be read, by kind."""
    arrays = {"a": np.ones((2, 3), np.float32), "b": np.zeros(4, ml_dtypes.bfloat16)}
    paths = {kind: folder / f"{kind}{suffix}" for kind, suffix in SUFFIXES.items()}
    archive(paths["archive"], VALUE)
    paths["old"].write_bytes(old(VALUE))
    save_file(arrays, paths["safetensors"])
    return paths


def damaged_files(paths, number, seed):
    """Makes each mutant in turn, at the path that it yields: `number` of five kinds."""
    for path in paths.values():
        mutant = path.with_stem("mutant")
        for content in mutants(path.read_bytes(), number, seed):
            mutant.write_bytes(content)
            yield mutant
    forged = [mutants(PROGRAM, number, seed)]  # with checksums that are right
    forged.append(shuffled([*opcodes(PROGRAM), *MEMORY], number, seed))
    for programs in forged:
        for program in programs:
            yield archive(paths["archive"].with_stem("forged"), program)


def survive(folder, number, seed):
    """Reads mutants with little memory to take and ten seconds for each; else it is killed."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (128 << 20),) * 2)
    paths = {kind: Path(folder) / f"{kind}{suffix}" for kind, suffix in SUFFIXES.items()}
    paths |= {path.stem: path for path in Path(folder).glob("torch*.pth")}
    for path in paths.values():
        assert weights.read(path)
    told = []
    for path in damaged_files(paths, number, seed):
        signal.alarm(10)
        told.append(message(lambda path=path: weights.read(path)))
    signal.alarm(0)
    assert None in told  # some faults are in numbers, which the old format does not check
    assert not any("more memory" in (line or "") for line in told)
    for reason in (
        "cannot be parsed",
        "reaches beyond its storage",
        "not a tensor",
        "holds no dict",
    ):
        assert any(reason in (line or "") for line in told), reason


@pytest.mark.skipif(sys.platform != "linux", reason="memory in use is read from /proc")
@pytest.mark.parametrize("number", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutants_are_read_or_refused_in_one_line_in_little_memory_and_time(tmp_path, number):
    sound_files(tmp_path)
    if number > 100 and importlib.util.find_spec("torch"):
        import torch

        state = torch.nn.Linear(3, 2).state_dict()
        torch.save(state, tmp_path / "torch.pth")
        torch.save(state, tmp_path / "torch_old.pth", _use_new_zipfile_serialization=False)
    code = f"import test_weight_mutants as t; t.survive({str(tmp_path)!r}, {number}, seed=1)"
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": f"{here}:{here.parent}"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]

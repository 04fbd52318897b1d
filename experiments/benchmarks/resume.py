"""What a fresh start and a resumed one take: seconds to the first step, and peak memory.

python experiments/benchmarks/resume.py [--parameters 100000000]

`jaxdl train` of a perceptron on the digits by Adam, twice: from nothing, until it tells of its
first step, which is then saved; and from that checkpoint, until it tells of the next. The seconds
are those since the command: each run compiles with an empty cache, and the second checks the
SHA-256 of every file. The peak is the resident memory of the process until then (on Linux).
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from saving import config


def start(folder: Path) -> tuple[float, float]:
    """Train in a folder until the first step is told of, then stop: (seconds, peak in MiB)."""
    command = [sys.executable, "-m", "jaxdl", "train", "--workdir", "run", "--config", "config.py"]
    cache = tempfile.mkdtemp(dir=folder)
    environment = {**os.environ, "XDG_CACHE_HOME": cache, "JAX_COMPILATION_CACHE_DIR": cache}
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        for line in run.stdout:
            if re.match(r"step [\d,]+/", line):
                break
        else:
            raise SystemExit(f"the run ended with status {run.wait()}")
        seconds = time.perf_counter() - began
        status = Path(f"/proc/{run.pid}/status").read_text()
        run.terminate()  # which saves
        run.stdout.read()
    return seconds, int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, default=100_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained = config(options.parameters)
        trained["training"] |= {"steps": 100_000, "evaluate": ()}
        (folder / "config.py").write_text(f"def get_config():\n    return {trained!r}\n")
        for how in ("fresh", "resumed"):
            seconds, peak = start(folder)
            print(
                f"{how:8} {seconds:6.1f} s to the first step, {peak:8,.0f} MiB at most", flush=True
            )

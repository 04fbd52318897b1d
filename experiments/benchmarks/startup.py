"""Seconds from the command to the first step, cold and with the caches, and where they go.

python experiments/benchmarks/startup.py [CONFIG] [--runs 5]

"Cold" has neither compiled programs nor decoded images kept from an earlier run; "warm" has both.
Each run is a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time


def stages(config: str, workdir: str) -> None:
    """In a process of its own: go as far as the first step, and print what each stage took."""
    marks = [("start", float(os.environ["STARTED"])), ("Python", time.time())]

    from jaxdl.caches import keep_programs
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.progress import Progress
    from jaxdl.training.build import build_experiment, read_config
    from jaxdl.training.check import check_shapes
    from jaxdl.training.loop import train_experiment

    class FirstStep(Progress):
        """Notes when the first step is shown."""

        def show(self, *told):
            marks.append(("first step", time.time()))

    marks.append(("imports", time.time()))
    keep_programs()
    experiment = build_experiment(read_config(config, ["training.steps=1"]))
    marks.append(("config and data", time.time()))
    check_shapes(experiment)
    marks.append(("check of shapes", time.time()))
    run = Run(workdir)
    run.claim(experiment.config)
    compiling = train_experiment(experiment, run, FirstStep(1, 1))["compile_seconds"]
    took = {name: then - marks[i][1] for i, (name, then) in enumerate(marks[1:])}
    print(
        json.dumps({**took, "compiling": compiling, "first step": took["first step"] - compiling})
    )


def measure(config: str, cache: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as workdir:
        done = subprocess.run(
            [sys.executable, __file__, config, "--stages", workdir],
            env={**os.environ, "XDG_CACHE_HOME": cache, "STARTED": str(time.time())},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", default="digits_cnn")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--stages", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stages:
        stages(options.config, options.stages)
        return
    cold, warm = [], []
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(measure(options.config, cache))
            warm.append(measure(options.config, cache))
    print(f"{options.config}: seconds, median of {options.runs}\n{'':18} {'cold':>7} {'warm':>7}")
    medians = [{k: statistics.median(r[k] for r in runs) for k in runs[0]} for runs in (cold, warm)]
    for name in cold[0]:
        print(f"{name:18} " + " ".join(f"{m[name]:7.2f}" for m in medians))
    totals = [statistics.median(sum(r.values()) for r in runs) for runs in (cold, warm)]
    print(f"{'command to step 1':18} " + " ".join(f"{total:7.2f}" for total in totals))


if __name__ == "__main__":
    main()

"""Mean ± standard deviation of the final metrics over runs, such as seeds of one config.

python experiments/summarize.py runs/mnist_cnn-0 runs/mnist_cnn-1 runs/mnist_cnn-2
"""

import argparse
import statistics
from typing import Any

from arguments import in_one_line

from jaxdl.checkpointing.run_directory import Run
from jaxdl.errors import UserError
from jaxdl.terminal import say


def finished(folder: str) -> dict[str, Any]:
    if (result := Run(folder).result()) is None:
        raise UserError(f"{folder}: has no result.json; name runs that have finished")
    return result


def main(folders: list[str]) -> None:
    results = [finished(folder) for folder in folders]
    say(f"{len(results)} runs, seeds {', '.join(str(result['seed']) for result in results)}")
    columns = {name: [r["metrics"][name] for r in results] for name in results[0]["metrics"]}
    columns["wall_seconds"] = [result["wall_seconds"] for result in results]
    columns["examples_per_second"] = [result["examples_per_second"] for result in results]
    for name, given in columns.items():
        if not (values := [value for value in given if value is not None]):
            continue
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        each = ", ".join(f"{value:.5g}" for value in values)
        say(f"{name:24} {statistics.mean(values):.5g} ± {spread:.2g}   ({each})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    with in_one_line(parser):
        main(parser.parse_args().runs)

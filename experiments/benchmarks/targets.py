"""What every shipped config takes of a TPU and a GPU that are not here, beside plain Flax.

    pip install -e '.[tpu,cuda]'
    TFDS_DATA_DIR=… python experiments/benchmarks/targets.py [--only NAME …] [--output table.md]

The train step of each config is compiled for each of the targets (`jaxdl check --target`), of data
that is not here with the shapes of its twin. Then it is compiled with Flax's own layers (`nn.Conv`,
`nn.BatchNorm`, `nn.max_pool`, `nn.RNN` of `nn.OptimizedLSTMCell`) in place of jaxdl's; loss and
optimiser stay. What was compiled is kept in the user's cache, so that an interrupted table is soon
where it was. A config that takes longer than `--limit` seconds, or fails, is named.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import jaxdl.models
from jaxdl.chips import GIB
from jaxdl.configs import shipped
from jaxdl.errors import UserError, first_line, suggestion
from jaxdl.kernels import add_relu, max_pool
from jaxdl.models.layers import BatchNorm
from jaxdl.models.recurrent import Recurrent
from jaxdl.targets import Target, compile_for
from jaxdl.targets.compiled import TooLarge, experiment_on, prepare, require
from jaxdl.targets.report import Roofline
from jaxdl.training.build import load_splits, read_config

TARGETS = ("tpu:v5e:1x1", "cuda:h100")


# ---- Plain Flax


class FlaxBatchNorm(BatchNorm):
    """`nn.BatchNorm`, and `nn.relu` after it."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, group: int | None = None) -> jax.Array:
        names = ("momentum", "epsilon", "use_scale", "use_bias", "scale_init", "bias_init")
        norm = nn.BatchNorm(not train, **{name: getattr(self, name) for name in names})
        return nn.relu(norm(x)) if self.relu else norm(x)


class FlaxRecurrent(Recurrent):
    """`nn.RNN`, a layer after the other, of one-hot vectors where inputs are tokens."""

    @nn.compact
    def __call__(self, inputs: Any, carry: Any = None, mask: Any = None, *, train: bool = False):
        x = inputs if self.vocabulary is None else jax.nn.one_hot(inputs, self.vocabulary)
        lengths = None if mask is None else jnp.sum(mask, 1)
        carry = self.initialize_carry(len(x), x.dtype) if carry is None else carry
        kind = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "rnn": nn.SimpleCell}[self.cell]
        last: list[Any] = []
        for layer in range(self.layers):
            if layer:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            results = []
            for back in (False, True)[: 1 + self.bidirectional]:
                run = nn.RNN(kind(self.hidden), reverse=back, keep_order=True, return_carry=True)
                start = carry[len(last)]  # h, and c of an LSTM, which Flax has first
                start = start[::-1] if self.cell == "lstm" else start[0]
                state, result = run(x, initial_carry=start, seq_lengths=lengths)
                last.append(state[::-1] if self.cell == "lstm" else (state,))
                results.append(result)
            x = jnp.concatenate(results, -1)
        return x, tuple(last)


def flax_max_pool(
    x: jax.Array, window: int, stride: int, padding: int = 0, *, ceil: bool = False
) -> jax.Array:
    more = [-(n + 2 * padding - window) % stride if ceil else 0 for n in x.shape[1:3]]
    pads = [(padding, padding + m) for m in more]
    return nn.max_pool(x, (window, window), (stride, stride), pads)


def plain_flax() -> None:
    """Put Flax's layers in the place of jaxdl's, in this process for good."""
    instead: list[tuple[Any, Any]] = [
        (BatchNorm, FlaxBatchNorm),
        (Recurrent, FlaxRecurrent),
        (add_relu, lambda x, y: nn.relu(x + y)),
        (max_pool, flax_max_pool),
    ]

    def plain(thing: Any) -> Any:
        if isinstance(thing, functools.partial):
            settings = {k: v for k, v in thing.keywords.items() if k != "conv_general_dilated"}
            return functools.partial(plain(thing.func), *thing.args, **settings)
        return next((theirs for ours, theirs in instead if thing is ours), thing)

    for found in pkgutil.iter_modules(jaxdl.models.__path__):
        module = importlib.import_module(f"jaxdl.models.{found.name}")
        for name, thing in list(vars(module).items()):
            setattr(module, name, plain(thing))


# ---- A config, in a process of its own


def measure(name: str, targets: list[str]) -> None:
    """Print a line of JSON for each program of a config: target, by whom, and what it takes."""
    prepare()
    overrides = ["precision.compute=bfloat16"] if name.startswith("imagenet_") else []
    config = read_config(name, overrides, small_twin=False)
    try:
        load_splits(config["data"])
    except UserError:  # they are not here
        config = read_config(name, [*overrides, "data.twin=true"], small_twin=False)
    for by in ("jaxdl", "Flax"):
        if by == "Flax":
            plain_flax()
        for target in map(Target.of, targets):
            line = {"target": str(target), "by": by, **takes(config, target)}
            print(json.dumps(line), flush=True)


def takes(config: Any, target: Target) -> dict[str, Any]:
    try:
        experiment = experiment_on(config, target)
        program = compile_for(experiment, target, "train step")
    except TooLarge as error:
        return {"fault": f"does not fit: {error.needed / GIB:.1f} GiB"}
    except Exception as error:  # a compiler's, of many types: the others go on
        return {"fault": first_line(error, 200)}
    bounds = Roofline.of(program, target.chip)
    share = program.examples / experiment.devices.mesh.size
    return {
        "batch": program.examples,
        "memory": program.held + program.work,
        "flops": sum(program.flops.values()) / share,
        "bytes": program.traffic / share,
        "binds": bounds.binds,
        "rate": program.examples / bounds.seconds,
    }


def measured(name: str, targets: list[str], limit: float) -> list[dict[str, Any]]:
    """What `measure` printed within so many seconds, and a line for the first that is missing."""
    command = [sys.executable, __file__, "--measure", name, "--targets", *targets]
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit)
        printed, fault = done.stdout, (done.stderr.decode().splitlines() or [""])[-1][:200]
    except subprocess.TimeoutExpired as stopped:
        printed, fault = stopped.stdout or b"", f"not within {limit:,.0f} s"
    lines = [json.loads(line) for line in printed.decode().splitlines() if line.endswith("}")]
    found = {(line["target"], line["by"]): line for line in lines}
    wanted = [(str(Target.of(t)), by) for by in ("jaxdl", "Flax") for t in targets]
    return [found.get(key, {"target": key[0], "by": key[1], "fault": fault}) for key in wanted]


# ---- The table


def table(found: dict[str, list[dict[str, Any]]], target: str) -> list[str]:
    """A Markdown table of what was found of each config on a target."""
    rows = [
        "| config | batch | MiB | MFLOP an example | MB an example | binds | examples/s at most "
        "| bytes, of Flax's | FLOPs, of Flax's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, lines in found.items():
        ours, theirs = (line for line in lines if line["target"] == target)
        if "fault" in ours:
            rows.append(f"| `{name}` | {ours['fault']} |" + " |" * 7)
            continue
        ratios = [
            f"{ours[what] / theirs[what]:.2f}" if theirs.get(what) else theirs.get("fault", "")
            for what in ("bytes", "flops")
        ]
        if all(ours[what] == theirs.get(what) for what in ("bytes", "flops", "memory")):
            ratios = ["", ""]  # it has none of the layers
        rows.append(
            f"| `{name}` | {ours['batch']:,} | {ours['memory'] / 2**20:,.0f} "
            f"| {millions(ours['flops'])} | {millions(ours['bytes'])} | {ours['binds']} "
            f"| {ours['rate']:,.0f} | {ratios[0]} | {ratios[1]} |"
        )
    return rows


def millions(n: float) -> str:
    """To three digits or more."""
    return f"{n / 1e6:,.0f}" if n >= 1e8 else f"{n / 1e6:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="of these configs")
    parser.add_argument("--targets", nargs="+", default=list(TARGETS))
    parser.add_argument("--limit", type=float, default=1200, help="seconds of a config")
    parser.add_argument("--output", type=Path, help="write the tables to this file, too")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure, options.targets)
    try:
        targets = list(map(Target.of, options.targets))
        for target in targets:
            require(target)
        for name in options.only:
            if name not in shipped():
                raise UserError(f"--only {name}: {suggestion(name, shipped())}")
    except UserError as error:
        parser.error(str(error))
    # The networks for ImageNet take longest.
    names = options.only or sorted(shipped(), key=lambda name: name.startswith("imagenet_"))
    found: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        print(f"{name} …", file=sys.stderr)
        found[name] = measured(name, options.targets, options.limit)
        text = "\n\n".join(
            "\n".join([f"`{target}`", "", *table(found, str(target))]) for target in targets
        )
        if options.output:
            options.output.write_text(f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()

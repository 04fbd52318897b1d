"""LSTM language models on a CPU, jaxdl's and PyTorch's: training steps, and tokens written.

    pip install torch==2.13.0
    python experiments/benchmarks/lstm_vs_torch.py [2x128 3x512] [--do train narrow write]

2x128 is char-rnn's network: sequences of 50 tokens, batches of 50, 66 different tokens; 3x512 has
sequences of 30, batches of 100 and 98 tokens. jaxdl trains as `jaxdl train` does: same experiment,
feed and compiled call; batches are shuffled and gathered in the step, and every step checks loss
and gradient norm. PyTorch trains the same network, `nn.LSTM` of one-hot tokens under a linear
layer, by the same optimiser, from tensors in memory, batches in order, with nothing checked: its
best of eager, time-major, fused optimiser and torch.compile is what counts. Both use all CPUs.
"narrow" is the same in bfloat16, parameters and optimiser in float32: jaxdl's by
`config.precision.compute`, which needs the extra `onednn` to be fast, and PyTorch's by autocast.

Writing, a step is one token of one sequence, drawn at temperature 0.8. jaxdl compiles the loop over
tokens, 16 a call, as `jaxdl sample` does; PyTorch calls its model a token, in inference mode:
its best of `nn.LSTM` and cells, compiled or not, on one thread or all.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from interleaved import Variant, race, report, serve
from trained import steps_of


class Work(NamedTuple):
    """A network, its data, and how many steps and tokens take about a second."""

    layers: int
    hidden: int
    time: int
    batch: int
    vocabulary: int
    steps: int
    tokens: int


WORK = {
    "2x128": Work(2, 128, 50, 50, 66, 30, 8192),
    "3x512": Work(3, 512, 30, 100, 98, 2, 1024),
}
TORCH = {
    "train": ("eager", "fused", "fused time-major", "fused compiled"),
    "narrow": ("eager", "fused", "fused time-major", "fused compiled"),
    "write": (
        "eager",
        "eager on one thread",
        "cells on one thread",
        "compiled cells",
        "compiled cells on one thread",
    ),
}


def tokens(work: Work, path: str) -> None:
    """Sequences in which a token depends on the one before."""
    rng = np.random.default_rng(0)
    steps = rng.integers(1, 8, (100 * work.batch, work.time + 1))
    np.savez(path, tokens=(1 + np.cumsum(steps, 1) % (work.vocabulary - 1)).astype(np.int32))


def config_of(work: Work, path: str, compute: str = "float32") -> dict[str, Any]:
    """jaxdl's language model, data and optimiser, computing in this type."""
    model = dict(name="language_model", vocabulary=work.vocabulary, hidden=work.hidden)
    return dict(
        data=dict(source="arrays", train=path),
        model=model | dict(layers=work.layers),
        task=dict(name="language_modeling"),
        optimizer=dict(name="adam", learning_rate=1e-3),
        training=dict(batch_size=work.batch, epochs=1),
        precision=dict(compute=compute),
    )


def jaxdl_write(work: Work, path: str) -> Callable[[int], object]:
    """Tokens as `jaxdl sample` writes them."""
    import jax
    import jax.numpy as jnp

    from jaxdl.decoding import TokenRules, generate, make_sampler
    from jaxdl.runtime import keep_freed_memory
    from jaxdl.training.build import build_experiment

    keep_freed_memory()  # as the command does
    experiment = build_experiment(config_of(work, path))
    model, state = experiment.model, experiment.init()
    learnt = state.params, state.model_state
    write = functools.partial(generate, model, draw=make_sampler(0.8), rules=TokenRules())
    program = jax.jit(write, static_argnums=(6,))
    carry, last = model.initialize_carry(*learnt, 1), jnp.ones((1, 1), jnp.int32)

    def steps(n: int) -> None:
        nonlocal carry, last
        for position in range(0, n, 16):
            tokens, carry = program(*learnt, carry, last, jax.random.key(0), position, 16)
            last = tokens[:, -1:]
            np.asarray(tokens)  # a reader sees it

    return steps


def torch_train(work: Work, path: str, how: str, narrow: bool) -> Callable[[int], object]:
    """Steps of the same network and optimiser in PyTorch, in bfloat16 if `narrow`."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(os.cpu_count() or 1)

    class LanguageModel(nn.Module):
        """Logits of the next token."""

        def __init__(self) -> None:
            super().__init__()
            sizes = work.vocabulary, work.hidden, work.layers
            self.lstm = nn.LSTM(*sizes, batch_first="time-major" not in how)
            self.output = nn.Linear(work.hidden, work.vocabulary)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.output(self.lstm(F.one_hot(x, work.vocabulary).float())[0])

    model = LanguageModel()
    with np.load(path) as archive:
        rows = torch.from_numpy(archive["tokens"].astype(np.int64)).split(work.batch)
    if "time-major" in how:
        rows = [r.T for r in rows]
    time = 0 if "time-major" in how else 1
    batches = [
        (r.narrow(time, 0, work.time).contiguous(), r.narrow(time, 1, work.time).reshape(-1))
        for r in rows
    ]
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused="fused" in how)
    apply = torch.compile(model) if "compiled" in how else model
    step = 0

    def steps(n: int) -> None:
        nonlocal step
        for _ in range(n):
            x, y = batches[step % len(batches)]
            with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
                logits = apply(x).reshape(-1, work.vocabulary)
            loss = F.cross_entropy(logits.float(), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1

    return steps


def torch_write(work: Work, path: str, how: str) -> Callable[[int], object]:
    """Tokens of the same network in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(1 if "one thread" in how else os.cpu_count() or 1)

    class Cells(nn.Module):
        """One token to the logits of the next, by cells."""

        def __init__(self) -> None:
            super().__init__()
            sizes = [work.vocabulary, *[work.hidden] * work.layers]
            self.cells = nn.ModuleList(map(nn.LSTMCell, sizes[:-1], sizes[1:]))
            self.output = nn.Linear(work.hidden, work.vocabulary)

        def forward(self, x: torch.Tensor, states: Any) -> Any:
            y, after = F.one_hot(x, work.vocabulary).float(), []
            for cell, state in zip(self.cells, states or [None] * work.layers, strict=True):
                after.append(cell(y, state))
                y = after[-1][0]
            return self.output(y), after

    class Layers(nn.Module):
        """The same by `nn.LSTM`."""

        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(work.vocabulary, work.hidden, work.layers)
            self.output = nn.Linear(work.hidden, work.vocabulary)

        def forward(self, x: torch.Tensor, states: Any) -> Any:
            y, states = self.lstm(F.one_hot(x, work.vocabulary).float()[None], states)
            return self.output(y[0]), states

    model: Any = Cells() if "cells" in how else Layers()
    model = torch.compile(model) if "compiled" in how else model
    last, states = torch.ones(1, dtype=torch.int64), None

    @torch.inference_mode()
    def steps(n: int) -> None:
        nonlocal last, states
        for _ in range(n):
            logits, states = model(last, states)
            last = torch.multinomial(torch.softmax(logits / 0.8, -1), 1)[0]
            last.item()

    return steps


def variants(name: str, do: str, path: str) -> list[Variant]:
    """jaxdl and every way of PyTorch."""
    work = WORK[name]
    steps = work.tokens if do == "write" else work.steps

    def command(framework: str, how: str) -> list[str]:
        return [sys.executable, __file__, name, "--do", do, "--serve", framework, how, path]

    ways = [Variant(f"PyTorch, {how}", command("torch", how), steps) for how in TORCH[do]]
    return [Variant("jaxdl", command("jaxdl", ""), steps), *ways]


def ready(name: str, do: str, framework: str, how: str, path: str) -> Callable[[int], object]:
    """What a variant's process times."""
    work = WORK[name]
    if framework == "jaxdl":
        if do == "write":
            return jaxdl_write(work, path)
        return steps_of(config_of(work, path, "bfloat16" if do == "narrow" else "float32"))
    if do == "write":
        return torch_write(work, path, how)
    return torch_train(work, path, how, narrow=do == "narrow")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", nargs="*", choices=[[], *WORK], help="by default both")
    parser.add_argument("--do", nargs="+", choices=TORCH, default=(*TORCH,))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(ready(options.work[0], options.do[0], *options.serve))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "train.npz"))
        for name in options.work or WORK:
            tokens(WORK[name], path)
            for do in options.do:
                found = race(variants(name, do, path), options.rounds)
                print(report(f"{do} {name}", "jaxdl", found), flush=True)


if __name__ == "__main__":
    main()

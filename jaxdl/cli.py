"""The command line: parses, calls, prints."""

from __future__ import annotations

import argparse
import ast
import contextlib
import errno
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jaxdl import caches
from jaxdl import config as cfg
from jaxdl.errors import UserError, printable
from jaxdl.files import special
from jaxdl.runtime import keep_freed_memory
from jaxdl.terminal import complain, say, set_up, stream

if TYPE_CHECKING:
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.training.experiment import Experiment

_CONFIG = (
    "a config file, or the name of a shipped one; --config.key.sub=value sets a key of it, as "
    "often as you like"
)
_DRAWN = (".png", ".pdf", ".svg")
_MOST_DRAWN = 100  # images in a figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. A mistake of the user's is one line on stderr, and exit status 2.

    Without `arguments` it is the process's own, and settles how this process keeps its memory and
    how it prints warnings and tracebacks.
    """
    if arguments is None:
        keep_freed_memory()
    set_up(hooks=arguments is None)
    words, overrides = _split(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(words)
    try:
        if overrides and getattr(options, "config", None) is None:
            raise UserError(f"--config.{overrides[0]}: needs --config FILE to override")
        options.command(options, overrides)
        sys.stdout.flush()  # here, where it can be told that this cannot be
    except UserError as error:
        complain(error)
        raise SystemExit(2) from None
    except BrokenPipeError:  # as `jaxdl list | head -1` does
        _discard_output()
        raise SystemExit(0) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # whatever asks first whether there is such a file
            name = printable(error.filename)
            fault = f"{name}: the name is too long for a file; choose a shorter one"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            _discard_output()
            fault = f"the disk is full ({error.strerror}); make room"
        else:
            raise
        complain(fault)
        raise SystemExit(2) from None
    except SystemExit as stop:
        if arguments is None and isinstance(stop.code, int) and stop.code > 128:
            _leave(stop.code)
        raise


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave(status: int) -> NoReturn:
    """End at once, as a signal asked: threads that wait for what does not come may hang."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)


def train(options: argparse.Namespace, overrides: list[str]) -> None:
    """Train, or resume what is in the workdir."""
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.parallel import processes

    if options.config is None:
        _existing(options.workdir)
    with contextlib.ExitStack() as stack:
        if options.distributed is None and (options.processes, options.process) != (None, None):
            raise UserError("--processes: needs --distributed HOST:PORT, the address of process 0")
        if options.distributed is not None:
            team = options.distributed, options.processes, options.process, options.patience
            stack.enter_context(processes.joined(*team))
        run = Run(options.workdir, processes.leads(), trust=options.trust)
        stack.enter_context(run.locked())
        config = read_config(options.config, overrides) if options.config else run.config()
        result, before = _train(config, run)
        if processes.leads():
            if before:
                say(f"{options.workdir}: finished before; this is its result")
            _conclude(result, run)


def _train(config: dict[str, Any], run: Run) -> tuple[dict[str, Any], bool]:
    """The result, and whether it was there before."""
    from jaxdl.checkpointing.checkpoints import Checkpoints
    from jaxdl.training.check import check_shapes
    from jaxdl.training.loop import train as run_loop

    run.check_claim(config)
    if result := run.result():
        return result, True
    experiment = _experiment(config, resumed=bool(Checkpoints(run.checkpoints).steps()))
    check_shapes(experiment)
    run.claim(config)
    return run_loop(experiment, run), False


def evaluate(options: argparse.Namespace, overrides: list[str]) -> None:
    """Measure the newest checkpoint again."""
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.training.measure import measure

    folder = _existing(options.workdir)
    run = Run(folder, best=options.best, trust=options.trust)
    step, metrics, examples = measure(_experiment(run.config(), resumed=True), run)
    say(f"step {step:,}")
    for name, value in metrics.items():
        counted = f"over {examples[name.partition('/')[0]]:,} examples"
        say(f"{printable(name):24} {value:.6g}   {counted}")


def check(options: argparse.Namespace, overrides: list[str]) -> None:
    """Say everything that can be known before training."""
    config = read_config(options.config, overrides)
    if options.workdir is not None:
        _writable(Path(options.workdir))
    from jaxdl.training.check import check as run_check

    run_check(_experiment(config))
    say("ready to train")


def sweep(options: argparse.Namespace, overrides: list[str]) -> None:
    """Train a grid of runs with several seeds each, or what is missing of it."""
    set_up_cache()
    from jaxdl.sweeps.grid import Sweep
    from jaxdl.sweeps.sweep import Sweeper

    asked = None
    if options.config is not None:
        read = functools.partial(read_config, options.config)
        asked = Sweep.of(read, overrides, 1 if options.seeds is None else options.seeds)
    elif options.seeds is not None:
        raise UserError("--seeds: needs --config; without it a sweep is resumed as it was")
    Sweeper(options.workdir, asked, options.together, options.trust).run(_train)


def sample(options: argparse.Namespace, overrides: list[str]) -> None:
    """Write with what a run has learnt, and show it as it is written."""
    for name in ("length", "count", "beam"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}: expected at least 1, got {value}")
    if not 0 <= options.seed < 2**32:
        raise UserError(f"--seed: expected at least 0 and below 2³², got {options.seed}")
    drawn = (options.temperature, options.top_k, options.top_p)
    if options.beam is not None and drawn != (None, None, None):
        raise UserError(
            "--beam: draws nothing; leave it out, or --temperature, --top-k and --top-p"
        )
    folder = _existing(options.workdir)
    if options.output is not None:
        _creatable(options.output, "--output", force=options.force)
    set_up_cache()
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.decoding import make_sampler
    from jaxdl.files import make_parent, replace_text
    from jaxdl.inference.text_generator import TextGenerator

    # A translation is best as likely as can be, a text of one's own is not.
    usual = 1.0 if options.input is None else 0.0
    temperature = usual if options.temperature is None else options.temperature
    draw = make_sampler(temperature, options.top_k, options.top_p)
    writer = TextGenerator(Run(folder, best=options.best, trust=options.trust))
    conditions = writer.condition(options.input)
    texts = []
    for i in range(options.count):
        if options.beam is not None:
            pieces = iter([writer.best(options.prompt, options.length, options.beam, conditions)])
        else:
            seed = options.seed + i
            pieces = writer.stream(options.prompt, options.length, draw, seed, conditions)
        texts.append(writer.task.heading(i) + options.prompt)
        stream(texts[-1])
        for piece in pieces:
            stream(piece)
            texts[-1] += piece
        say()
    stream(writer.task.remark(texts))
    if options.output is not None:
        replace_text(make_parent(Path(options.output)), "\n".join(texts) + "\n")


def predict(options: argparse.Namespace, overrides: list[str]) -> None:
    """Say what a run makes of images."""
    if options.top is not None and options.top < 1:
        raise UserError(f"--top: expected at least 1, got {options.top}")
    if options.score is not None and not 0 <= options.score <= 1:
        raise UserError(f"--score: expected 0 to 1, got {options.score}")
    folder = _existing(options.workdir)
    if options.figure is not None:
        _creatable(options.figure, "--figure", _DRAWN, options.force)
    set_up_cache()
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.inference.predictor import Predictor, image_files

    paths = image_files(options.images)
    if options.figure is not None and len(paths) > _MOST_DRAWN:
        raise UserError(f"--figure: shows up to {_MOST_DRAWN} images, not {len(paths)}; give fewer")
    predictor = Predictor(Run(folder, best=options.best, trust=options.trust))
    seen, answered = [], []
    for prediction in predictor(paths, options.top, options.score):
        answered.append(prediction.answers)
        if options.figure is not None:
            seen.append(prediction.pixels)
    names = [printable(answer.name) for answers in answered for answer in answers]
    width = max(map(len, names), default=0)
    for path, answers in zip(paths, answered, strict=True):
        say(path)
        for name, value, box in answers:
            place = "" if box is None else "  at " + ", ".join(f"{corner:.1f}" for corner in box)
            say(f"    {printable(name):{width}}  {value:.4f}{place}")
        if not answers:
            say("    nothing; a lower --score shows more")
    if options.figure is not None:
        from jaxdl.figures import answers_gallery, save

        save(answers_gallery(seen, answered), Path(options.figure))


def inspect(options: argparse.Namespace, overrides: list[str]) -> None:
    """Tell what is in a run, a checkpoint or a weight file."""
    from jaxdl.checkpointing.inspection import inspect as tell

    tell(Path(options.place))


def export(options: argparse.Namespace, overrides: list[str]) -> None:
    """Write what a run has learnt, to be used without jaxdl."""
    if options.batch is not None and options.batch < 1:
        raise UserError(f"--batch: expected at least 1, got {options.batch}")
    folder, output = _existing(options.workdir), Path(options.output)
    _writable(output, "--output")
    from jaxdl.checkpointing.run_directory import Run
    from jaxdl.inference.export import export as write

    run = Run(folder, best=options.best, trust=options.trust)
    written = write(run, output, options.batch, options.force)
    for way in ("inputs", "outputs"):
        for name, array in written[way].items():
            say(f"{way[:-1]:8} {name}: {array['dtype']}[{', '.join(map(str, array['shape']))}]")
    say(f"step {written['step']:,}, {written['parameters']:,} parameters, is in {output}")


def list_configs(options: argparse.Namespace, overrides: list[str]) -> None:
    """Print the shipped configs, what each reproduces, and its target."""
    for name, path in cfg.shipped().items():
        document = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        target = cfg.read(str(path)).get("target")
        say(f"{name:22} {document.splitlines()[0] if document else ''}")
        if target:
            sign = "at most" if target.get("smaller") else "at least"
            say(f"{'':22} {target['metric']} {sign} {target['value']:g} ({target['source']})")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="jaxdl", description="One config, one command, an honest number.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    config: dict[str, Any] = {"metavar": "FILE", "help": _CONFIG}
    workdir: dict[str, Any] = {"metavar": "DIR", "help": "the run directory"}
    best: dict[str, Any] = {
        "action": "store_true",
        "help": "the best checkpoint, by config.training.best, not the newest",
    }
    trust: dict[str, Any] = {
        "action": "append",
        "default": [],
        "type": _module_name,
        "metavar": "MODULE",
        "help": "run code of this module where the directory's config names it; can be repeated",
    }
    force: dict[str, Any] = {"action": "store_true", "help": "overwrite what exists"}

    command = commands.add_parser("train", help="train, or resume what is in the workdir")
    command.add_argument("--config", **config)
    command.add_argument("--workdir", required=True, **workdir)
    command.add_argument(
        "--distributed",
        nargs="?",
        const="auto",
        metavar="HOST:PORT",
        help="be one of several processes; without an address as Slurm, Open MPI, Kubernetes say",
    )
    command.add_argument("--processes", type=int, metavar="N", help="how many, with an address")
    command.add_argument("--process", type=int, metavar="I", help="which one this is, 0 to N - 1")
    command.add_argument(
        "--patience", type=int, default=600, metavar="SECONDS", help="end where others hang (600)"
    )
    command.add_argument("--trust", **trust)
    command.set_defaults(command=train)

    command = commands.add_parser("evaluate", help="measure the newest checkpoint again")
    command.add_argument("--workdir", required=True, **workdir)
    command.add_argument("--best", **best)
    command.add_argument("--trust", **trust)
    command.set_defaults(command=evaluate)

    command = commands.add_parser(
        "sweep",
        help="train a grid of runs, each with several seeds",
        description="Train every combination of the given values, each with several seeds, and "
        "print mean ± standard deviation over the seeds. --config.optimizer.learning_rate=0.1,0.3 "
        "has two values: commas separate, except inside brackets and quotes, so "
        "--config.model.hidden=(64,),(64,32) has two as well, and a single tuple stands in "
        "brackets. Run it again, or with --workdir alone, to resume.",
    )
    command.add_argument("--config", metavar="FILE", help=f"{_CONFIG}; v1,v2 tries both values")
    command.add_argument("--workdir", required=True, metavar="DIR", help="the sweep's directory")
    command.add_argument(
        "--seeds", type=int, metavar="N", help="seeds of each, from the config's upwards (1)"
    )
    command.add_argument("--trust", **trust)
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--together",
        action="store_true",
        default=None,
        help="train in one program whatever can be, not only what is faster so",
    )
    how.add_argument(
        "--in-turn",
        action="store_false",
        dest="together",
        help="train one run after the other",
    )
    command.set_defaults(command=sweep)

    command = commands.add_parser("sample", help="write with what a run has learnt")
    command.add_argument("--workdir", required=True, **workdir)
    command.add_argument("--best", **best)
    command.add_argument("--trust", **trust)
    command.add_argument("--prompt", default="", metavar="TEXT", help="what it goes on from")
    command.add_argument(
        "--input", metavar="TEXT", help="what it answers to: a text to translate, an image's path"
    )
    command.add_argument("--length", type=int, default=500, help="most tokens to write (500)")
    command.add_argument(
        "--temperature", type=float, help="0 is greedy; by default 1, and 0 with --input"
    )
    command.add_argument("--top-k", type=int, metavar="K", help="draw among the K likeliest")
    command.add_argument(
        "--top-p", type=float, metavar="P", help="draw among the likeliest that have P together"
    )
    command.add_argument("--beam", type=int, metavar="W", help="beam search of this width instead")
    command.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    command.add_argument("--count", type=int, default=1, help="how many to write (1)")
    command.add_argument("--output", metavar="FILE", help="also write them to a file")
    command.add_argument("--force", **force)
    command.set_defaults(command=sample)

    command = commands.add_parser("predict", help="say what a run makes of images")
    command.add_argument("images", nargs="+", metavar="IMAGE", help="a file, or a folder of them")
    command.add_argument("--workdir", required=True, **workdir)
    command.add_argument("--best", **best)
    command.add_argument("--trust", **trust)
    command.add_argument("--top", type=int, metavar="K", help="classes (5) or boxes (all) to name")
    command.add_argument(
        "--score", type=float, metavar="S", help="the least score of those (0, of boxes 0.3)"
    )
    command.add_argument(
        "--figure", metavar="FILE", help="also draw the images, with the first class, or with boxes"
    )
    command.add_argument("--force", **force)
    command.set_defaults(command=predict)

    command = commands.add_parser("inspect", help="tell what is in a run, and whether it is sound")
    command.add_argument(
        "place", metavar="DIR", help="a run, one of its checkpoints, or a weight file"
    )
    command.set_defaults(command=inspect)

    command = commands.add_parser("export", help="write what a run has learnt, to use elsewhere")
    command.add_argument("--workdir", required=True, **workdir)
    command.add_argument("--best", **best)
    command.add_argument("--trust", **trust)
    command.add_argument("--output", required=True, metavar="FOLDER", help="where to")
    command.add_argument("--force", **force)
    command.add_argument("--batch", type=int, metavar="N", help="examples a call (any number)")
    command.set_defaults(command=export)

    command = commands.add_parser("check", help="say all that can be known before training")
    command.add_argument("--config", required=True, **config)
    command.add_argument("--workdir", **workdir)
    command.set_defaults(command=check)

    command = commands.add_parser("list", help="the shipped configs and their targets")
    command.set_defaults(command=list_configs)
    return parser


def _module_name(text: str) -> str:
    if not all(part.isidentifier() for part in text.split(".")):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a module, such as my_models")
    return text


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message}; see {self.prog} --help", self.prog)
        raise SystemExit(2)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own words, and the overrides without their `--config.`."""
    words: list[str] = []
    overrides: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("--config."):
            words.append(word)
        elif "=" in word:
            overrides.append(word.removeprefix("--config."))
        else:  # --config.key value
            overrides.append(f"{word.removeprefix('--config.')}={next(rest, '')}")
    return words, overrides


def read_config(file: str, overrides: list[str]) -> dict[str, Any]:
    """The config of a file and overrides."""
    from jaxdl.training.build import NODES

    return cfg.read(file, overrides, NODES)


def set_up_cache() -> None:
    """Keep compiled programs for the next run, unless JAX was told where to already."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR") and (folder := caches.usable("xla")):
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _experiment(config: dict[str, Any], *, resumed: bool = False) -> Experiment:
    set_up_cache()
    from jaxdl.training.build import build_experiment

    return build_experiment(config, resumed=resumed)


def _existing(folder: str) -> Path:
    if not (Path(folder) / "config.json").exists():
        raise UserError(f"--workdir {folder}: holds no run (no config.json); train there first")
    return Path(folder)


def _writable(folder: Path, option: str = "--workdir") -> None:
    """Refuse a directory that could not be made, without making it."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"{option} {folder}: cannot be written ({there}); choose another")


def _creatable(file: str, option: str, suffixes: Sequence[str] = (), force: bool = False) -> None:
    """Refuse a file that could not be written, or, without force, exists; without writing it."""
    _writable(Path(file).parent, option)
    if Path(file).is_dir():
        raise UserError(f"{option} {file}: is a directory; name a file")
    if kind := special(Path(file)):
        raise UserError(f"{option} {file}: is {kind}; name a plain file")
    if suffixes and Path(file).suffix not in suffixes:
        raise UserError(f"{option} {file}: name a file that ends in {' or '.join(suffixes)}")
    if os.path.lexists(file) and not force:  # a link to nothing, too, would be written through
        raise UserError(f"{option} {file}: exists; choose another, or overwrite it with --force")


def _conclude(result: dict[str, Any], run: Run) -> None:
    """The final metrics, and whether the published target was met."""
    for name, value in result["metrics"].items():
        say(f"{printable(name):24} {'nan' if value is None else format(value, '.6g')}")
    counted = ", ".join(f"{count:,} {split}" for split, count in result["examples"].items())
    say(
        f"evaluated {counted} examples at step {result['step']:,}; "
        f"{result['examples_per_second']:,.0f} training examples/s"
    )
    target = result["target"]
    if target:
        verdict = "met" if result["met"] else "NOT met"
        say(f"target {target['metric']} {target['value']:g} ({target['source']}): {verdict}")
    say(f"everything is in {run.folder}")

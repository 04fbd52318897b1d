"""A run in Python, from `jaxdl.train` or `jaxdl.load`; the command line uses it too."""

from __future__ import annotations

import functools
import signal
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.checkpointing.run_directory import Run, final_metrics
from jaxdl.data.table import described
from jaxdl.errors import UserError, printable
from jaxdl.figures import drawn
from jaxdl.files import existing_run, refused
from jaxdl.inference.conclusion import conclusion, formatted
from jaxdl.inference.evaluator import Evaluator
from jaxdl.inference.explain import Explainer
from jaxdl.inference.predictor import Predictor
from jaxdl.inference.restored import RestoredRun
from jaxdl.inference.text_generator import TextGenerator
from jaxdl.named_code import modules
from jaxdl.tasks.answer import Answer
from jaxdl.training.callbacks import Callback
from jaxdl.training.start import train_workdir


def train(
    config: Any,
    workdir: str | Path,
    overrides: Sequence[str] = (),
    *,
    extend: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    trust: Collection[str] = (),
) -> LoadedRun:
    """Train a config, as `jaxdl train` does: from the newest checkpoint if there is one.

        run = jaxdl.train("digits_cnn", "runs/digits", ["training.epochs=3"])

    Progress is printed: in place on a terminal and in a notebook. A run that has finished is not
    trained again. Ctrl-C, or interrupting the kernel, saves the state and stops; the same call
    resumes, with the same numbers as if it had not been stopped.

    Args:
      config: a config file, the name of a shipped one, or the config itself, a `ConfigDict` or
        nested dicts; None resumes the run in `workdir`.
      workdir: the run directory.
      overrides: of the config, each `key.sub=value`, as after `--config.`
      extend: the new total length of the run, `{"epochs": 20}` or `{"steps": 5000}`.
      callbacks: called during training, after those that `config.callbacks` names.
      trust: modules whose code may run where the config in `workdir` names it; those that `config`
        names are trusted.

    Returns:
      The run, as `load` gives it.

    Raises:
      UserError: the config, the data or the directory is not valid; the message is one line.
      KeyboardInterrupt: it was interrupted; everything was saved.
    """
    if isinstance(overrides, str):
        raise UserError(f"overrides: expected a list, such as [{overrides!r}]")
    try:
        if config is None or extend:
            existing_run(workdir)
        train_workdir(workdir, config, overrides, trust=trust, extend=extend, callbacks=callbacks)
    except SystemExit as stop:
        if stop.code == 128 + signal.SIGINT:  # which in Python ends what is done, not the process
            raise KeyboardInterrupt from None
        raise
    except OSError as error:
        if fault := refused(error):
            raise UserError(fault) from None
        raise
    consented = frozenset() if config is None else modules(Run(workdir).config())
    named = [trust] if isinstance(trust, str) else trust
    return load(workdir, trust={*named, *consented})


def load(folder: str | Path, *, best: bool = False, trust: Collection[str] = ()) -> LoadedRun:
    """Load a trained run, to use it; its data is not needed.

        run = jaxdl.load("runs/digits")
        run.predict(images)     raw, as they were read in training: transforms are inside

    Args:
      folder: the run directory.
      best: use the best checkpoint, by `config.training.best`, instead of the newest.
      trust: modules whose code may run where the run's config names it.

    Raises:
      UserError: it holds no run, its files are damaged, or its config names code that is not
        trusted.
    """
    return LoadedRun(RestoredRun(Run(existing_run(folder), best=best, trust=trust)))


class LoadedRun:
    """A trained run in use. Columns are given raw, as in training before any transforms.

    Data is a `jaxdl.Table`, or columns by name in a dict: those of the run's data (`columns`), the
    texts that its tokens are made from, or the columns of its CSV file. Where the model reads one
    column, that column is enough: images, as an array (examples, height, width, channels) of uint8,
    a list of paths, or a list of arrays of any size if the run scales or crops them; frames of a
    drive, in their order; texts; numbers. Any number of examples is taken, in batches of a few
    sizes, for which the programs are compiled once.

    Args:
      parts: the run restored.

    Attributes:
      parts: model, task, state and preprocessing, to use alone.
    """

    def __init__(self, parts: RestoredRun) -> None:
        self.parts = parts

    def predict(self, data: Any) -> Any:
        """What the task predicts, NumPy arrays (examples, …).

        The class of each example, by its number; the number of a regression; of a detector a dict
        of `boxes` (examples, limit, 4) in pixels of each image as it is given, `scores` (0 where
        there is none) and `labels` (-1), as evaluation counts them; of a language model the
        likeliest token after each.

        Raises:
          UserError: a column is missing, or of another type or shape than in training.
        """
        return self.predictor.predict(data)

    def answers(self, data: Any, **asked: Any) -> list[list[Answer]]:
        """The same in words, as `jaxdl predict` prints: names, probabilities, boxes, best first.

        Args:
          data: see `predict`.
          **asked: what the task takes: `top`, the most answers for an example; `score`, the least
            value of one; `overlap`, above which a box counts as a repetition of a better one.

        Raises:
          UserError: as `predict`; or the task gives no answers, or does not take what is asked.
        """
        return list(self.predictor.answers(data, **asked))

    def evaluate(self, data: Any) -> dict[str, Any]:
        """The task's metrics, over examples with their true answers, each counted once.

        Raises:
          UserError: as `predict`; or the classes or the vocabulary of a table are not the run's.
        """
        return self.evaluator(data)

    def features(self, data: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The outputs of modules of the model: path, such as 'layer3' -> array (examples, …).

        Raises:
          UserError: as `predict`; or there is no such module; the message has those that are near.
        """
        return self.predictor.features(data, names)

    def generate(
        self,
        prompt: str = "",
        *,
        input: Any = None,
        length: int = 500,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        beam: int | None = None,
        seed: int = 0,
    ) -> str:
        """The text that a language model generates after a prompt, or for an input.

        Of music it is a line of keys for each frame.

        Args:
          prompt: the beginning of the text, which is not repeated.
          input: what it answers to: a text to translate; the path of an image.
          length: the most tokens.
          temperature: of the draws; 0 takes the likeliest token. By default 1, and 0 with an input.
          top_k: draw among the k likeliest.
          top_p: draw among the likeliest that have probability p together.
          beam: beam search of this width instead of draws.
          seed: of the draws.

        Raises:
          UserError: the run's model does not generate text, or not from such an input.
        """
        pieces = self.writer.write(
            prompt,
            length,
            self.writer.condition(input),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            beam=beam,
            seed=seed,
        )
        return "".join(pieces)

    @property
    def params(self) -> Any:
        """The parameters that are evaluated: their moving average where there is one."""
        return self.parts.state.eval_params

    @property
    def config(self) -> Mapping[str, Any]:
        """The config, as nested dicts."""
        return self.parts.config

    @property
    def columns(self) -> Mapping[str, Mapping[str, Any]]:
        """The columns of the data: name -> dtype and shape of an example."""
        return self.parts.columns

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, if the data has them."""
        return self.parts.classes

    @functools.cached_property
    def metrics(self) -> dict[str, float | None]:
        """The final metrics; of a run that has not finished, those of its last evaluation."""
        directory = self.parts.directory
        return final_metrics(directory.result(), directory.history())

    @property
    def figures(self) -> dict[str, Path]:
        """The figures: name -> PNG file, the learning curves first."""
        return drawn(self.parts.directory.figures)

    @functools.cached_property
    def predictor(self) -> Predictor:
        """The `Predictor` of this run; its programs are compiled once."""
        return Predictor(self.parts)

    @functools.cached_property
    def evaluator(self) -> Evaluator:
        """The `Evaluator` of this run; its programs are compiled once."""
        return Evaluator(self.parts)

    @functools.cached_property
    def explainer(self) -> Explainer:
        """The `Explainer` of this run; its programs are compiled once.

        Raises:
          UserError: the run is not on images.
        """
        return Explainer(self.parts, self.predictor)

    @functools.cached_property
    def writer(self) -> TextGenerator:
        """The `TextGenerator` of this run."""
        return TextGenerator(self.parts)

    def __repr__(self) -> str:
        parts = self.parts
        columns = ", ".join(
            f"{name}: {described(**column)}" for name, column in self.columns.items()
        )
        model = parts.config["model"]["name"]
        return printable(
            f"LoadedRun({str(parts.directory.folder)!r}: {model}, {type(parts.task).__name__} of "
            f"{columns})",
            400,
        )

    def _repr_html_(self) -> str:
        """The same in a notebook, with the result."""
        if result := self.parts.directory.result():
            metrics, sentences = conclusion(result)
        else:
            metrics = formatted(self.metrics)
            sentences = ["not finished" + "; from its last evaluation" * bool(metrics)]
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>"
            for name, value in metrics.items()
        )
        head = f"<p>{escape(repr(self))}</p>"
        said = "".join(f"<p>{escape(printable(text, None))}</p>" for text in sentences)
        return f"{head}<table>{rows}</table>{said}"

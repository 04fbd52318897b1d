"""The result of a finished run in words, for a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxdl.errors import printable
from jaxdl.tasks.detection_base import MEANING


class Conclusion(NamedTuple):
    """The final metrics, and whether the published target was met.

    Attributes:
      metrics: name -> value, as they are printed.
      sentences: everything else, one line each.
    """

    metrics: dict[str, str]
    sentences: list[str]


def conclusion(result: Mapping[str, Any]) -> Conclusion:
    """The contents of result.json, in words."""
    metrics = formatted(result["metrics"])
    counted = ", ".join(f"{count:,} {split}" for split, count in result["examples"].items())
    counted = f"evaluated {counted} examples" if counted else "no split was evaluated"
    counted += f" at step {result['step']:,}"
    if (rate := result["examples_per_second"]) is not None:  # this start has trained
        counted += f"; {rate:,.0f} training examples/s"
    sentences = [counted]
    if stopped := result.get("stopped_early"):
        said, best = f"stopped early, at step {stopped['step']:,} of {stopped['of_steps']:,}", ""
        if kept := result["best"]:
            named = printable(kept["metric"])
            best = f"; the best is {named} {kept['value']:.6g} at step {kept['step']:,} (--best)"
        waited = f"after {stopped['patience']} evaluations without a better one"
        sentences.append(f"{said}, {waited}{best}")
    if any(name.endswith("/AP") for name in metrics):
        sentences.append(MEANING)
    if target := result["target"]:
        verdict = "met" if result["met"] else "NOT met"
        named = f"{target['metric']} {target['value']:g} ({target['source']})"
        sentences.append(f"target {named}: {verdict}")
    return Conclusion(metrics, sentences)


def formatted(metrics: Mapping[str, float | None]) -> dict[str, str]:
    """Metrics as they are printed."""
    return {
        printable(name): "nan" if value is None else format(value, ".6g")
        for name, value in metrics.items()
    }

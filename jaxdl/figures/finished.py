"""What there is to draw of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Finished(NamedTuple):
    """What there is to draw.

    Attributes:
      experiment: a `jaxdl.training.experiment.Experiment`.
      state: the final state.
      result: as in result.json.
      tables: as in tables.json.
      history: the lines of metrics.jsonl.
    """

    experiment: Any
    state: Any
    result: Mapping[str, Any]
    tables: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]

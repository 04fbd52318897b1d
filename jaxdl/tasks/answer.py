"""Answers of a task about an example, for a person to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Answer(NamedTuple):
    """One answer.

    Attributes:
      name: such as that of a class.
      value: its probability or score, or the predicted number.
      box: its place, (x₁, y₁, x₂, y₂) in pixels of the image; None if it has none.
    """

    name: str
    value: float
    box: tuple[float, float, float, float] | None = None


def class_names(known: Sequence[str], count: int) -> list[str]:
    """The name of each class, or its number; both where names repeat (ImageNet's 'crane')."""
    names = [*known, *map(str, range(len(known), count))][:count]
    times = Counter(names)
    return [f"{name} ({i})" if times[name] > 1 else name for i, name in enumerate(names)]

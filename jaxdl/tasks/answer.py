"""What a task says of an example, for a person to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Answer(NamedTuple):
    """One thing that is said.

    Attributes:
      name: such as a class.
      value: how likely it is, or a number that was asked for.
      box: where it is, (x₁, y₁, x₂, y₂) in pixels of the image, if it is somewhere.
    """

    name: str
    value: float
    box: tuple[float, float, float, float] | None = None


def class_names(known: Sequence[str], count: int) -> list[str]:
    """The name of each class, or its number; both where two have one name (ImageNet's 'crane')."""
    names = [*known, *map(str, range(len(known), count))][:count]
    times = Counter(names)
    return [f"{name} ({i})" if times[name] > 1 else name for i, name in enumerate(names)]

"""Episodes to play: numbers from which each starts, all that an agent is given."""

from __future__ import annotations

import numpy as np

from jaxdl.data.table import Table
from jaxdl.errors import UserError


def episodes(
    train_episodes: int = 6_400, validation_episodes: int = 0, test_episodes: int = 100
) -> dict[str, Table]:
    """Seeds of episodes, no two alike: those of the test split are 0, 1, 2, …

    Then come those of validation and training, so that no episode that is evaluated was played in
    training. The test split does not depend on the sizes of the others.

    Args:
      train_episodes: episodes in the train split.
      validation_episodes: episodes in the validation split; 0 for none.
      test_episodes: episodes in the test split; 0 for none.

    Returns:
      `seed` (N,) uint32.

    Raises:
      UserError: a number of episodes is out of range.
    """
    sizes = {"test": test_episodes, "validation": validation_episodes, "train": train_episodes}
    for role, size in sizes.items():
        if size < (least := int(role == "train")):
            raise UserError(f"episodes: {role}_episodes={size}; give at least {least}")
    if (total := sum(sizes.values())) > 1 << 32:
        raise UserError(f"episodes: {total:,} in all, and there are 2³² seeds; give fewer")
    ends = dict(zip(sizes, np.cumsum([*sizes.values()]), strict=True))
    return {
        role: Table(
            {"seed": np.arange(ends[role] - sizes[role], ends[role], dtype=np.uint32)},
            f"episodes, {role} split",
        )
        for role in reversed(sizes)
        if sizes[role]
    }

"""What sources that split their data themselves have in common."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import numpy as np
from jaxtyping import Int

from jaxdl.errors import UserError


def require_fractions(source: str, test: float, validation: float) -> None:
    """Refuse shares of the test and validation splits that leave none for training."""
    if not (test >= 0 and validation >= 0 and test + validation < 1):
        raise UserError(
            f"{source}: test_fraction={test}, validation_fraction={validation}; each must be at "
            "least 0, and together less than 1"
        )


def random_state(source: str, seed: int, stream: int = 0) -> np.random.RandomState:
    """A source of random numbers; independent ones for each stream of a seed.

    RandomState, since NumPy froze its streams (NEP 19): a split outlives NumPy's releases.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"{source}: seed={seed}; a seed is a whole number from 0 to 2³² - 1")
    return np.random.RandomState([seed, stream])


def hashed_roles(names: Iterable[str], test: float, validation: float) -> dict[str, list[str]]:
    """Names for each split whose share is above 0, by a hash: each stays when others are added."""
    wanted = {"train": True, "validation": validation > 0, "test": test > 0}
    splits: dict[str, list[str]] = {role: [] for role, is_wanted in wanted.items() if is_wanted}
    for name in names:
        digest = sha256(name.encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64  # uniform in [0, 1)
        role = "test" if place < test else "validation" if place < test + validation else "train"
        splits[role].append(name)
    return splits


def partition(
    count: int, test: float, validation: float, seed: int, source: str
) -> dict[str, Int[np.ndarray, " rows"]]:
    """Disjoint random rows for each split whose share is above 0; together, all rows."""
    require_fractions(source, test, validation)
    shares = {"train": 1 - test - validation, "validation": validation, "test": test}
    sizes = {"validation": round(count * validation), "test": round(count * test)}
    sizes["train"] = count - sum(sizes.values())
    shuffled = random_state(source, seed).permutation(count)
    parts: dict[str, Int[np.ndarray, " rows"]] = {}
    for role in ("train", "validation", "test"):
        if shares[role] > 0:
            if sizes[role] == 0:
                raise UserError(f"{source}: {count} rows leave none for {role}; add rows or change "
                                "the fractions")  # fmt: skip
            parts[role] = np.sort(shuffled[: sizes[role]])
            shuffled = shuffled[sizes[role] :]
    return parts

"""Random and hashed splits, for sources whose data is not split yet."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import numpy as np
from jaxtyping import Int

from jaxdl.errors import UserError


def require_fractions(source: str, test: float, validation: float) -> None:
    """Refuse shares of the test and validation splits that leave nothing for training."""
    if not (test >= 0 and validation >= 0 and test + validation < 1):
        raise UserError(
            f"{source}: test_fraction={test}, validation_fraction={validation}; each must be at "
            "least 0, and together less than 1"
        )


def random_state(source: str, seed: int, stream: int = 0) -> np.random.RandomState:
    """A random number generator, independent for each stream of a seed.

    RandomState, since NumPy froze its streams (NEP 19): splits stay the same in later releases.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"{source}: seed={seed}; give a whole number from 0 to 2³² - 1")
    return np.random.RandomState([seed, stream])


def hashed_roles(names: Iterable[str], test: float, validation: float) -> dict[str, list[str]]:
    """The names of each split whose share is above 0, by a hash: adding names moves no other."""
    shares = {"train": 1.0, "validation": validation, "test": test}
    splits: dict[str, list[str]] = {role: [] for role, share in shares.items() if share > 0}
    for name in names:
        digest = sha256(name.encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64  # uniform in [0, 1)
        role = "test" if place < test else "validation" if place < test + validation else "train"
        splits[role].append(name)
    return splits


def partition(
    count: int, test: float, validation: float, seed: int, source: str
) -> dict[str, Int[np.ndarray, " rows"]]:
    """Disjoint random rows for each split whose share is above 0; together they are all rows."""
    require_fractions(source, test, validation)
    shares = {"train": 1 - test - validation, "validation": validation, "test": test}
    sizes = {"validation": round(count * validation), "test": round(count * test)}
    sizes["train"] = count - sum(sizes.values())
    shuffled = random_state(source, seed).permutation(count)
    parts: dict[str, Int[np.ndarray, " rows"]] = {}
    for role in ("train", "validation", "test"):
        if shares[role] > 0:
            if sizes[role] == 0:
                raise UserError(f"{source}: {count} rows leave none for the {role} split; add rows "
                                "or change the fractions")  # fmt: skip
            parts[role] = np.sort(shuffled[: sizes[role]])
            shuffled = shuffled[sizes[role] :]
    return parts

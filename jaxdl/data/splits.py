"""Random and hashed splits, for sources whose data is not split yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Int, Shaped

from jaxdl.errors import UserError

# The usual names of a split's folder or key, in lower case; the first is YOLO's key.
NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "validate", "dev"),
    "test": ("test", "testing"),
}
ROLES = {name: role for role, names in NAMES.items() for name in names}
UNSPLIT_TEST = 0.2  # share of the test split, where the data is not split and nobody says

_Item = TypeVar("_Item")


def role_in(name: str) -> str | None:
    """The split that a word in a name means, as in 20news-bydate-test; None if none or several."""
    roles = {ROLES[word] for word in re.split("[^a-z]+", name.lower()) if word in ROLES}
    return roles.pop() if len(roles) == 1 else None


def by_role(files: Sequence[Path], root: Path) -> dict[str, Path]:
    """The files below a folder that are called as splits, or with such a word in their paths."""
    for role_of in (lambda path: ROLES.get(path.stem.lower()), lambda path: role_in(str(path))):
        roles = dict[str, Path]()
        for file in files:
            role = role_of(file.relative_to(root).with_suffix(""))
            if role in roles:
                raise UserError(
                    f"{file} and {roles[role].name} are both the {role} split; keep one"
                )
            if role is not None:
                roles[role] = file
        if "train" in roles:
            return {role: roles[role] for role in NAMES if role in roles}
    return {}


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


def hashed_roles(
    items: Iterable[_Item], name: Callable[[_Item], str], test: float, validation: float
) -> dict[str, list[_Item]]:
    """The items of each split whose share is above 0, by a hash of their names.

    Adding items does not move others. If the hash puts none into a split although its share is at
    least one, the split gets the last item of the largest one.
    """
    shares = {"train": 1 - test - validation, "validation": validation, "test": test}
    splits: dict[str, list[_Item]] = {role: [] for role, share in shares.items() if share > 0}
    for item in items:
        digest = sha256(name(item).encode("utf-8", "surrogateescape")).digest()  # any file's name
        place = int.from_bytes(digest[:8], "big") / 2**64  # uniform in [0, 1)
        role = "test" if place < test else "validation" if place < test + validation else "train"
        splits[role].append(item)
    count = sum(map(len, splits.values()))
    for role, part in splits.items():
        if not part and count * shares[role] >= 1:
            part.append(max(splits.values(), key=len).pop())
    return splits


def fill_up(
    given: Mapping[str, Sequence[_Item]],
    name: Callable[[_Item], str],
    test: float | None,
    validation: float | None,
    source: str,
) -> dict[str, Sequence[_Item]]:
    """The given splits, and those that fractions hold out from the train split.

    Args:
      given: the splits by role, including 'train'.
      name: returns the name of an item of the train split, whose hash decides where it goes.
      test: share of the train split for the test split; None is 0.
      validation: likewise for the validation split.
      source: for messages.

    Raises:
      UserError: a fraction is out of range, so small that its split is empty, or of a split that is
        given already.
    """
    fractions = {"test": test, "validation": validation}
    require_fractions(source, test or 0, validation or 0)
    require_unused(fractions, given, source)
    parts = {**given, **hashed_roles(given["train"], name, test or 0, validation or 0)}
    for role, fraction in fractions.items():
        if fraction and not parts[role]:
            raise UserError(
                f"{source}: of {len(given['train'])} examples none is in the {role} split; raise "
                f"{role}_fraction={fraction}, set it to 0, or add examples"
            )
    return parts


def require_unused(
    fractions: Mapping[str, float | None], given: Container[str], source: str
) -> None:
    """Refuse a fraction for a split that is given already: it would have no effect."""
    for role, fraction in fractions.items():
        if fraction and role in given:
            raise UserError(
                f"{source}: {role}_fraction={fraction}, but the data has a {role} split; leave one "
                "of them out"
            )


def partition(
    count: int,
    test: float,
    validation: float,
    seed: int,
    source: str,
    groups: Shaped[np.ndarray, " examples"] | None = None,
) -> dict[str, Int[np.ndarray, " rows"]]:
    """Disjoint random rows for each split whose share is above 0; together they are all rows.

    Args:
      count: number of rows.
      test: share of the rows for the test split, rounded.
      validation: likewise for the validation split.
      seed: seed of the random order.
      source: for messages.
      groups: a value for each row; rows of the same value are put into one split, and the shares
        are met as closely as the sizes of the groups allow.

    Raises:
      UserError: a fraction is out of range, or there is no row for a split.
    """
    require_fractions(source, test, validation)
    shares = {"train": 1 - test - validation, "validation": validation, "test": test}
    held_out = round(count * test)
    cuts = [count - round(count * validation) - held_out, count - held_out]
    random, what = random_state(source, seed), f"{count} rows"
    if groups is None:
        shuffled = random.permutation(count)
    else:
        values, group = np.unique(groups, return_inverse=True)
        place, what = random.permutation(len(values))[group], f"{len(values)} groups of rows"
        shuffled, ends = np.argsort(place, kind="stable"), np.cumsum([0, *np.bincount(place)])
        cuts = [int(ends[np.argmin(abs(ends - cut))]) for cut in cuts]
    parts = dict(zip(shares, map(np.sort, np.split(shuffled, cuts)), strict=True))
    for role, share in shares.items():
        if share > 0 and not len(parts[role]):
            raise UserError(
                f"{source}: {what} leave none for the {role} split; add rows or change the "
                "fractions"
            )
    return {role: rows for role, rows in parts.items() if shares[role] > 0}

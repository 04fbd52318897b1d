"""Sums to learn as text: a translation with one right answer, without any files."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from jaxdl.data.splits import random_state
from jaxdl.data.table import Table
from jaxdl.errors import UserError


def addition(
    digits: int = 3,
    train_examples: int = 230_400,
    test_examples: int = 10_000,
    validation_examples: int = 0,
    smaller_digits: int | None = None,
    seed: int = 0,
) -> dict[str, Table]:
    """Additions a+b of whole numbers below 10^digits, each ordered pair (a, b) at most once.

    The task of Sutskever and Zaremba (Learning to Execute, 2014, arXiv:1410.4615), and of Flax's
    examples/seq2seq, where an LSTM of 512 units with Adam at 3e-3 makes no mistake after 1800
    batches of 128. Its sums are easier: digits=3, smaller_digits=2, and new ones in each step, so
    that the test sums are among those it was trained on. Here splits have no pair in common. A pair
    and its reverse, 1+2 and 2+1, are two.

    Args:
      digits: the most digits of a number, 1 to 6.
      train_examples: pairs in the train split.
      test_examples: pairs in the test split.
      validation_examples: pairs in the validation split; 0 for none.
      smaller_digits: the most digits of the smaller number, which then comes first; None for any
        two numbers in any order.
      seed: seed of the random choice. The test split does not depend on the sizes of the others.

    Returns:
      `question`, such as '12+345', and `answer`, '357', both (N,) of str.

    Raises:
      UserError: there are fewer pairs than asked for, or a number is out of range.
    """
    if not 1 <= digits <= 6:
        raise UserError(f"addition: digits={digits}; choose 1 to 6")
    if smaller_digits is not None and not 1 <= smaller_digits <= digits:
        raise UserError(f"addition: smaller_digits={smaller_digits}; choose 1 to digits={digits}")
    sizes = {"test": test_examples, "validation": validation_examples, "train": train_examples}
    for role, size in sizes.items():
        least = 0 if role == "validation" else 1
        if size < least:
            raise UserError(f"addition: {role}_examples={size}; give at least {least}")
    pairs = _distinct(digits, smaller_digits, sum(sizes.values()), seed)
    parts = np.split(pairs, np.cumsum(list(sizes.values()))[:-1], axis=1)
    splits = {role: part for role, part in zip(sizes, parts, strict=True) if part.size}
    return {role: _as_text(splits[role], role) for role in reversed(splits)}


def _distinct(
    digits: int, smaller_digits: int | None, count: int, seed: int
) -> Int64[np.ndarray, "2 count"]:
    """`count` distinct pairs in random order; the first of them are the same for any count."""
    first = 10 ** (smaller_digits or digits)
    second = 10**digits
    reversed_ones = first * (first - 1) // 2 if smaller_digits else 0
    available = first * second - reversed_ones
    if count > available:
        raise UserError(
            f"addition: {count} examples, but only {available} pairs; ask for fewer, or more digits"
        )
    random = random_state("addition", seed)
    pairs = np.empty(0, np.int64)  # (a, b) as a · second + b
    while len(pairs) < count:
        if first * second <= 1_000_000:
            more = random.permutation(first * second).astype(np.int64)
        else:  # too many to shuffle, and so many that few occur twice
            more = random.randint(first * second, size=1_000_000, dtype=np.int64)
        if smaller_digits:
            more = more[more // second <= more % second]
        pairs = np.append(pairs, more)
        pairs = pairs[np.sort(np.unique(pairs, return_index=True)[1])]
    return np.stack(np.divmod(pairs[:count], second))


def _as_text(pairs: Int64[np.ndarray, "2 n"], role: str) -> Table:
    question = [f"{a}+{b}" for a, b in pairs.T.tolist()]
    answer = [str(total) for total in pairs.sum(axis=0).tolist()]
    columns = {"question": np.array(question, object), "answer": np.array(answer, object)}
    return Table(columns, f"addition {role} split")

"""Scores of written sequences: functions of what was written, and of one or more references each.

To add one, write a function here and name it in `SCORES`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

References = Sequence[Sequence[str]]


def bleu(written: Sequence[str], references: References) -> float:
    """Corpus BLEU-4, 0 to 100, by sacrebleu with its own tokeniser, case left aside.

    Post 2018, "A call for clarity in reporting BLEU scores": signature
    case:lc|eff:no|tok:13a|smooth:exp, nrefs as many as there are.
    """
    from sacrebleu.metrics import BLEU

    # A stream holds the first reference of each, the next the second, None where there is none.
    streams = [list(stream) for stream in itertools.zip_longest(*references)]
    return float(BLEU(lowercase=True).corpus_score(list(written), streams).score)


def exact_match(written: Sequence[str], references: References) -> float:
    """The share of sequences that are a reference to the letter."""
    return sum(w in each for w, each in zip(written, references, strict=True)) / len(references)


SCORES: dict[str, Callable[[Sequence[str], References], float]] = {
    "bleu": bleu,
    "exact_match": exact_match,
}

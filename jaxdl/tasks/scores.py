"""Scores of generated texts: functions of the texts, and of one or more references for each.

To add one, write a function here and add it to `SCORES`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

References = Sequence[Sequence[str]]


def bleu(texts: Sequence[str], references: References) -> float:
    """Corpus BLEU-4, 0 to 100, by sacrebleu with its own tokeniser, ignoring case.

    Post 2018, "A call for clarity in reporting BLEU scores": signature
    case:lc|eff:no|tok:13a|smooth:exp, nrefs as many as there are.
    """
    from sacrebleu.metrics import BLEU

    # A stream holds the first reference of each, the next the second, None where there is none.
    streams = [list(stream) for stream in itertools.zip_longest(*references)]
    return float(BLEU(lowercase=True).corpus_score(list(texts), streams).score)


def exact_match(texts: Sequence[str], references: References) -> float:
    """The share of texts that equal one of their references."""
    return sum(x in each for x, each in zip(texts, references, strict=True)) / len(references)


SCORES: dict[str, Callable[[Sequence[str], References], float]] = {
    function.__name__: function for function in (bleu, exact_match)
}

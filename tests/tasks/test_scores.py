"""Scores of written sequences."""

import pytest
import sacrebleu

from jaxdl.tasks.scores import SCORES, bleu, exact_match

WRITTEN = ["the cat sat on the mat .", "A dog runs, fast.", "two men", ""]
TEXTS = ["the cat sat on a mat .", "a dog runs fast.", "two men talk", "nothing"]
ASKED = [(text,) for text in TEXTS]


def test_bleu_is_sacrebleus_own():
    own = sacrebleu.corpus_bleu(WRITTEN, [TEXTS], lowercase=True, tokenize="13a").score
    assert 0 < own < 100
    assert bleu(WRITTEN, ASKED) == pytest.approx(own, abs=1e-9)
    assert bleu(tuple(WRITTEN), tuple(ASKED)) == bleu(WRITTEN, ASKED)


def test_bleu_leaves_case_aside_and_is_a_hundred_at_most():
    assert bleu([text.upper() for text in TEXTS[:3]], ASKED[:3]) == pytest.approx(100)
    assert bleu([""], [["nothing at all"]]) == 0


def test_exact_match_is_to_the_letter():
    assert exact_match(["357", "35", "3570", " 357"], [["357"]] * 4) == 0.25
    with pytest.raises(ValueError):
        exact_match(["357"], [["357"], ["1"]])


def test_any_reference_is_right_and_some_have_more():
    asked = [("a b c d", "e f g h"), ("i j k l",)]
    assert exact_match(["e f g h", "e f g h"], asked) == 0.5
    assert bleu(["e f g h", "i j k l"], asked) == pytest.approx(100)
    one = sacrebleu.corpus_bleu(["e f x h i"] * 2, [["a b", "i"], ["e f g h", None]]).score
    assert bleu(["e f x h i"] * 2, [("a b", "e f g h"), ("i",)]) == pytest.approx(one)


def test_all_are_named():
    assert set(SCORES) == {"bleu", "exact_match"}
    assert all(score(TEXTS, ASKED) in (1.0, pytest.approx(100)) for score in SCORES.values())

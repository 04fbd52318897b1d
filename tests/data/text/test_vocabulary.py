import json
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data import PAD, Characters, Subwords, Words
from jaxdl.data.text.vocabulary import from_json
from jaxdl.errors import UserError

POEM = "Zwei Männer, ein Hund;\n\tthey don't run - they walk.\n" * 20 + "„Ja“, he said: 3.5 €!\n"
KINDS = {"characters": Characters.of, "words": Words.of, "subwords": Subwords.of}
# Anything that UTF-8 can write: no half of a surrogate pair.
TEXT = st.text(st.characters(codec="utf-8"))


def of(kind, framed=False, lower=False, texts=(POEM,)):
    size = {"size": 300} if kind == "subwords" else {}
    return KINDS[kind](texts, framed=framed, lower=lower, **size)


@pytest.fixture(scope="module")
def subwords():
    return of("subwords")


@given(st.text(sorted(set(POEM))))
def test_characters_come_back(text):
    vocabulary = of("characters")
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(text=TEXT)
def test_subwords_write_any_text(subwords, text):
    ids = subwords.encode(text)
    assert subwords.decode(ids) == text
    assert ids.dtype == np.int32 and PAD not in ids and (ids < len(subwords)).all()


@pytest.mark.parametrize("text", ["▁ a▁▁", "  a  ", "\n\n", "\t\r\n", "<s></s><unk><0x41>", "a\0b"])
def test_subwords_keep_what_sentencepiece_gives_a_meaning(subwords, text):
    assert subwords.decode(subwords.encode(text)) == text


@given(TEXT)
def test_words_settle_after_one_round(text):
    """What words write, they read as the same words."""
    vocabulary = Words.of([text, "a"])
    once = vocabulary.decode(vocabulary.encode(text))
    assert vocabulary.decode(vocabulary.encode(once)).split() == once.split()


@pytest.mark.parametrize(
    "text",
    [
        "A man's dog isn't here, is it?",
        "The black-and-white T-shirt - size 3.5, $1,000 (new) - costs 20%!",
        'He said "go now" and left; "fine", she said.',
        "„Geht’s?“, fragte er; er ist 1,80 m groß…",
        "First line.\nSecond line,\n\nand/or the third.",
        "[MENENIUS]: what? ¿qué?",
    ],
)
def test_words_put_the_spaces_back(text):
    vocabulary = Words.of([text])
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_characters_are_numbered_in_order():
    vocabulary = Characters.of(["ba", "cä"])
    assert vocabulary.symbols == "abcä" and len(vocabulary) == 5
    assert vocabulary.encode("äab").tolist() == [4, 1, 2]
    assert (vocabulary.start, vocabulary.end, vocabulary.unknown) == (None, None, None)


def test_frame_ids_stand_before_the_symbols():
    vocabulary = Characters.of(["ab"], framed=True)
    assert (vocabulary.start, vocabulary.end, len(vocabulary)) == (1, 2, 5)
    assert vocabulary.encode("ab").tolist() == [3, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_decode_stops_at_the_end_and_skips_padding(kind):
    vocabulary = of(kind, framed=True)
    word, other = vocabulary.encode("run"), vocabulary.encode("walk")
    ids = [vocabulary.start, *word, PAD, vocabulary.end, *other, PAD]
    assert vocabulary.decode(ids) == "run"
    assert vocabulary.decode([PAD, PAD]) == vocabulary.decode([]) == ""


def test_decode_takes_the_arrays_of_jax():
    import jax.numpy as jnp

    assert Characters.of(["ab"]).decode(jnp.array([2, 1, 0], jnp.uint8)) == "ba"


@pytest.mark.parametrize("ids", [[-1], [3], [0, 1000]])
def test_decode_refuses_ids_of_another_vocabulary(refuses, ids):
    with refuses("token ids", "0 to 2"):
        Characters.of(["ab"]).decode(ids)


def test_words_are_ranked_and_the_rare_unknown():
    texts = ["b b a a c", "c a d"]
    vocabulary = Words.of(texts, min_count=2)
    assert vocabulary.symbols == ("a", "b", "c")  # 3, 2 and 2 times
    assert vocabulary.unknown == 1 and len(vocabulary) == 5
    assert vocabulary.encode("a d z").tolist() == [2, 1, 1]
    assert vocabulary.decode([2, 1]) == "a <unk>"
    assert Words.of(texts, size=2).symbols == ("a", "b")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("framed", [False, True])
def test_json_holds_all_of_it(kind, framed):
    vocabulary = of(kind, framed, lower=True)
    text = json.dumps(vocabulary.to_json(), allow_nan=False)
    restored = from_json(json.loads(text))
    assert restored == vocabulary and len(restored) == len(vocabulary)
    assert restored != of(kind, not framed, lower=True) != of(kind, not framed)
    np.testing.assert_array_equal(restored.encode("He RUNs."), vocabulary.encode("he runs."))


def test_json_of_something_else_is_refused(refuses):
    for data in ({}, {"kind": "morse"}, {"kind": "words"}, {"kind": "characters", "symbol": "a"}):
        with refuses("vocabulary", "restore"):
            from_json(data)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_vocabulary_in_another_process(kind):
    code = (
        "import sys, json; from jaxdl.data.text.vocabulary import *\n"
        f"made = {KINDS[kind].__self__.__name__}.of([sys.argv[1]], **json.loads(sys.argv[2]))\n"
        "print(json.dumps(made.to_json()))"
    )
    size = json.dumps({"size": 300} if kind == "subwords" else {})
    done = subprocess.run(
        [sys.executable, "-c", code, POEM, size], capture_output=True, text=True, check=True
    )
    assert from_json(json.loads(done.stdout)) == of(kind)
    assert done.stderr == ""  # sentencepiece is silent


def test_refuses(refuses):
    with refuses("'é'", "U+00E9", "position 4", "2 seen", "2 more", "subwords"):
        Characters.of(["ab"]).encode("ababéaxx")
    with refuses("'\\n'", "position 0", "0 more"):
        Characters.of(["ab"]).encode("\na")
    with refuses("'\\udcff'", "position 1"):
        of("subwords").encode("a\udcff")
    with refuses("9 times", "min_count"):
        Words.of(["a b c"], min_count=9)
    with refuses("size=5000", "at most"):
        Subwords.of([POEM], size=5000)
    with refuses("size=100", "at least"):
        Subwords.of([POEM], size=100)
    with refuses("size=1", "8000"):
        Subwords.of([POEM], size=1)
    with refuses("size=300", "longer texts"):
        Subwords.of(["\n"], size=300)


def test_the_remedy_for_a_size_works():
    for size in (5000, 100):
        with pytest.raises(ValueError, match="size=") as caught:
            Subwords.of([POEM], size=size)
        advised = int(re.search(r"at (?:most|least) (\d+)", str(caught.value))[1])
        assert len(Subwords.of([POEM], size=advised)) == advised


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "characters", "symbols": 3},
        {"kind": "characters", "symbols": "ab", "framed": "yes"},
        {"kind": "words", "symbols": "ab"},
        {"kind": "words", "symbols": ["a", 3]},
        {"kind": "subwords", "model": "not base64"},
        {"kind": "subwords", "model": "AAAA"},
        {"kind": ["words"], "symbols": []},
    ],
)
def test_a_description_of_other_types_is_refused(data):
    with pytest.raises(UserError, match="vocabulary: not written by to_json"):
        from_json(data)

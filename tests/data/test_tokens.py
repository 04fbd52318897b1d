from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl import config
from jaxdl.data import Characters, Table, Tokens, load, tokenize
from jaxdl.data.text.vocabulary import from_json
from jaxdl.data.tokens import with_begins
from jaxdl.errors import UserError
from jaxdl.training.state import digest


def texts(**columns):
    return {name: np.array(column, object) for name, column in columns.items()}


def splits(train, **others):
    return {
        role: Table(texts(text=column), f"the {role} split")
        for role, column in {"train": train, **others}.items()
    }


def tokens(data, **settings):
    """The arrays and vocabulary that one column of characters becomes."""
    made = tokenize(data, {"tokens": Tokens("text", **settings)})
    return {r: t.columns["tokens"] for r, t in made.items()}, made["train"].vocabularies["tokens"]


WRITTEN = st.lists(st.text("abcä \n", min_size=2, max_size=40), min_size=1, max_size=5)


@given(WRITTEN, st.integers(1, 12), st.booleans())
def test_windows_predict_every_token_once(documents, window, ends):
    rows, vocabulary = tokens(splits(documents), window=window, ends=ends)
    rows = rows["train"]
    frame = ([vocabulary.start], [vocabulary.end]) if ends else ([], [])
    ids = [[*frame[0], *vocabulary.encode(d), *frame[1]] for d in documents]
    pairs = [pair for row in rows for pair in pairwise(row) if pair[1] != 0]
    assert pairs == [pair for each in ids for pair in pairwise(each)]
    assert rows.shape == (sum(-(-(len(each) - 1) // window) for each in ids), window + 1)


@given(WRITTEN, st.integers(1, 12))
def test_windows_follow_one_another(documents, window):
    rows, _ = tokens(splits(["".join(documents)]), window=window)
    np.testing.assert_array_equal(rows["train"][:-1, -1], rows["train"][1:, 0])


@given(WRITTEN, WRITTEN, st.booleans())
def test_rows_are_the_texts_padded_at_the_end(train, test, ends):
    test = [text for text in test if set(text) <= set("".join(train))] or train
    made = tokenize(splits(train, test=test), {"tokens": Tokens("text", ends=ends)})
    width = max(map(len, train + test)) + 2 * ends
    for role, documents in (("train", train), ("test", test)):
        rows, vocabulary = made[role].columns["tokens"], made[role].vocabularies["tokens"]
        assert rows.shape == (len(documents), width)
        assert made[role].texts["tokens"] == tuple(documents)
        assert [vocabulary.decode(row) for row in rows] == documents
        for row, text in zip(rows, documents, strict=True):
            assert np.count_nonzero(row) == len(text) + 2 * ends and row[: len(text)].all()
            if ends:
                assert row[0] == vocabulary.start and row[len(text) + 1] == vocabulary.end


def test_columns_and_tables_keep_what_they_had():
    table = Table(
        {**texts(de=["ja", "nein"], en=["yes", "no"]), "label": np.array([1, 0], np.int32)},
        "pairs", ("x", "y"),
    )  # fmt: skip
    settings = {"source": Tokens("de"), "tokens": Tokens("en", by="words", ends=True)}
    made = tokenize({"train": table}, settings)["train"]
    assert set(made.columns) == set(made.vocabularies) | {"label"} == {"source", "tokens", "label"}
    assert made.columns["label"] is table.columns["label"]
    assert made.where == "pairs" and made.classes == ("x", "y")
    assert made.texts == {"source": ("ja", "nein"), "tokens": ("yes", "no")}
    assert len(made.vocabularies["source"]) == 1 + 5
    assert made.columns["tokens"].tolist() == [[1, 5, 2], [1, 4, 2]]  # 3 is the unknown word


def test_one_text_may_become_several_columns_and_keep_its_name():
    settings = {"text": Tokens("text"), "words": Tokens("text", by="words")}
    made = tokenize(splits(["a b", "c"]), settings)["train"]
    assert made.columns["text"].shape == (2, 3) and made.columns["words"].shape == (2, 2)


@pytest.mark.parametrize(("size", "dtype"), [(255, "uint8"), (256, "uint16"), (65536, "int32")])
def test_dtype_is_the_smallest_that_holds_the_vocabulary(size, dtype):
    text = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x1FFFF)][:size]))
    rows, vocabulary = tokens(splits([text]))
    assert rows["train"].dtype == dtype and len(vocabulary) == size + 1
    assert rows["train"].max() == size


def test_vocabulary_is_that_of_the_train_split():
    rows, vocabulary = tokens(splits(["a a b"], test=["b z a"]), by="words")
    assert vocabulary.symbols == ("a", "b")
    assert rows["test"].tolist() == [[3, 1, 2]]


def test_what_is_cut_keeps_its_start():
    rows, vocabulary = tokens(splits(["abcdef", "ab"]), length=4, cut=True, ends=True)
    assert [vocabulary.decode(row) for row in rows["train"]] == ["abc", "ab"]
    assert rows["train"].shape == (2, 4)


def test_lower_is_the_vocabularys():
    rows, vocabulary = tokens(splits(["Ab aB"]), by="words", lower=True)
    assert rows["train"].tolist() == [[2, 2]] and vocabulary.encode("AB").tolist() == [2]


def test_texts_of_fixed_width_are_texts():
    """Such as an .npz file may hold."""
    made = tokenize({"train": Table({"text": np.array(["ab", "b"])})}, {"tokens": Tokens("text")})
    assert made["train"].columns["tokens"].tolist() == [[1, 2], [2, 0]]


def test_load_tokenizes_and_validates(refuses):
    def source():
        return splits(["ab", "b"])

    made = load(source, tokenize={"tokens": dict(text="text")})["train"]
    assert made.columns["tokens"].tolist() == [[1, 2], [2, 0]]
    assert made.vocabularies == {"tokens": Characters(symbols="ab")}
    assert len(load(source, tokenize={"tokens": Tokens("text")})["train"]) == 2
    with refuses("column 'text' is text", "config.data.tokenize"):
        load(source)
    with refuses("no 'train' split"):
        load(lambda: {"test": Table({"x": np.zeros(3)})}, tokenize={"tokens": Tokens("text")})
    with refuses("no examples"):
        load(lambda: splits([]), tokenize={"tokens": Tokens("text")})


@pytest.mark.parametrize(
    ("data", "settings", "fragments"),
    [
        (dict(train=["ab", ""]), {}, ["train split", "'text'", "example 1", "no token"]),
        (dict(train=["ab", " \t"]), dict(by="words"), ["example 1", "no token"]),
        (dict(train=["ab", "a"]), dict(window=3), ["example 1", "a single token", "ends"]),
        (
            dict(train=["ab"], test=["ab", "aéx"]),
            {},
            ["the test split", "'text'", "example 1", "'é'", "position 1", "1 more", "subwords"],
        ),
        (
            dict(train=["ab", "abcd"], test=["abcdab"]),
            dict(length=3, ends=True),
            ["the train split", "example 0 has 4", "tokenize.tokens.length=3", "(3 texts",
             "the test split: column 'text', example 0 the most, 8", "set length=8", "cut=True"],
        ),
        (dict(train=["ab"]), dict(by="subwords", size=8000), ["tokenize.tokens", "at most"]),
        (dict(train=["ab"]), dict(by="words", min_count=2), ["tokenize.tokens", "2 times"]),
        (dict(train=[1, 2]), {}, ["'text'", "not text", "object"]),
    ],
)  # fmt: skip
def test_refuses_texts(refuses, data, settings, fragments):
    with refuses(*fragments):
        tokens(splits(**data), **settings)


def test_the_remedy_for_a_length_works():
    with pytest.raises(UserError, match="set length=6,"):
        tokens(splits(["ab", "abcdab", "abcd"]), length=1)
    assert tokens(splits(["ab", "abcdab"]), length=6)[0]["train"].shape == (2, 6)


def test_refuses_columns(refuses):
    data = {"train": Table({**texts(a=["ab"], b=["c"]), "label": np.zeros(1)}, "the pairs")}
    with refuses("the pairs", "no column 'text'", "config.data.tokenize.tokens.text"):
        tokenize(data, {"tokens": Tokens("text")})
    with refuses("'label'", "not text", "float64"):
        tokenize(data, {"tokens": Tokens("label")})
    with refuses("tokenize.label", "new name"):
        tokenize(data, {"label": Tokens("a")})
    with refuses("tokenize.tokens", "window", "'b'"):
        tokenize(data, {"tokens": Tokens("a", window=2)})
    with refuses("tokenize.tokens", "window", "'other'"):
        tokenize(data, {"tokens": Tokens("a", window=2), "other": Tokens("b")})


@pytest.mark.parametrize(
    ("settings", "fragments"),
    [
        ({}, ["text", "missing"]),
        (dict(text="t", windw=3), ["windw", "did you mean 'window'?"]),
        (dict(text="t", by="letters"), [".by", "'letters'"]),
        (dict(text="t", window="50"), [".window", "'50'"]),
        (dict(text="t", window=0), ["window=0"]),
        (dict(text="t", length=-1), ["length=-1"]),
        (dict(text="t", window=5, length=5), ["window", "length"]),
        (dict(text="t", cut=True), ["cut=True", "length"]),
        (dict(text="t", size=100), ["size=100", "words and subwords"]),
        (dict(text="t", by="subwords", size=9, min_count=2), ["min_count=2", "subwords"]),
        (dict(text="t", by="words", min_count=0), ["min_count=0"]),
        (dict(text="t", by="subwords"), ["size", "8000"]),
    ],
)
def test_refuses_settings(refuses, settings, fragments):
    with refuses("config.data.tokenize.tokens", *fragments):
        config.call(Tokens, settings, "config.data.tokenize.tokens")


@pytest.mark.parametrize("length", range(2, 11))
def test_the_first_window_of_each_text_is_named(length):
    """Windows of 4: texts that fill their last one, lack or exceed it by one, or are shorter."""
    documents = ["abcab", "c" * length, "ab" * length]
    made = tokenize(splits(documents), {"tokens": Tokens("text", window=4)})["train"]
    counts = [-(-(len(text) - 1) // 4) for text in documents]
    assert np.flatnonzero(made.columns["begins"]).tolist() == np.cumsum([0, *counts[:-1]]).tolist()
    assert np.count_nonzero(made.columns["tokens"][:, 1:]) == sum(map(len, documents)) - 3
    unmarked = replace(made, columns={"tokens": made.columns["tokens"]})
    assert digest(made.identity()) == digest(unmarked.identity())  # as jaxdl 0.1 has it


def test_rows_of_token_ids_continue_one_another_unless_they_end_in_padding():
    rows = np.array([[1, 2, 3], [4, 5, 0], [1, 2, 3], [4, 0, 0], [2, 2, 2]])
    table = with_begins(Table({"tokens": rows}), "tokens")
    assert table.columns["begins"].tolist() == [True, False, True, False, True]
    own = Table({"tokens": rows, "begins": np.arange(5) == 3})
    assert with_begins(own, "tokens") is own


def test_texts_that_continue_none_are_refused(refuses):
    whole = tokenize(splits(["ab", "b"]), {"tokens": Tokens("text")})["train"]
    with refuses("column 'tokens' is a whole text", "set config.data.tokenize.tokens.window"):
        with_begins(whole, "tokens")
    rows = np.ones((2, 3), int)
    for begins in (np.array([1, 0]), np.ones((2, 1), bool)):
        with refuses("column 'begins' must be bool", "convert or rename it"):
            with_begins(Table({"tokens": rows, "begins": begins}), "tokens")


def test_tiny_shakespeare(tfds_dir):
    window = {"tokens": dict(text="text", window=50)}
    made = load("tfds", dataset="tiny_shakespeare", validation="validation", tokenize=window)
    assert len(made["train"].vocabularies["tokens"]) == 66
    predicted = {role: np.count_nonzero(t.columns["tokens"][:, 1:]) for role, t in made.items()}
    assert predicted == {"train": 1003853, "validation": 55769, "test": 55769}
    assert made["train"].columns["tokens"].dtype == np.uint8


def test_translation(tfds_dir):
    columns = {
        name: dict(text=text, by="words", ends=True, min_count=2)
        for name, text in (("source", "de"), ("tokens", "en"))
    }
    made = load("tfds", dataset="translation", train="train[:4000]", tokenize=columns)
    table = made["test"]
    for column, text in (("source", "Zwei Frauen und drei "), ("tokens", "Two ladies and three ")):
        vocabulary = table.vocabularies[column]
        assert table.texts[column][0].startswith(text)
        assert vocabulary.decode(table.columns[column][0]).startswith(text)
        known = table.columns[column] != vocabulary.unknown
        words = table.columns[column] > vocabulary.end
        assert known[words].mean() > 0.85


def test_sentiment(tfds_dir):
    tokenized = {"tokens": dict(text="text", by="words", size=10_000)}
    made = load("tfds", dataset="sentiment", tokenize=tokenized)
    assert [len(table) for table in made.values()] == [8528, 1068]
    assert made["train"].classes == ("neg", "pos")
    assert len(made["train"].vocabularies["tokens"]) == 10_002  # padding and the unknown word


def test_rare_characters_may_be_unknown(refuses):
    def column(*texts):
        return Table({"t": np.array(texts, object)})

    splits = {"train": column("abab", "abz"), "validation": column("aéb")}
    with refuses("'é'", "min_count=2"):
        tokenize(splits, {"tokens": Tokens("t")})
    made = tokenize(splits, {"tokens": Tokens("t", min_count=2)})
    vocabulary = made["train"].vocabularies["tokens"]
    assert vocabulary.unknown == 3 and len(vocabulary) == 4
    assert made["train"].columns["tokens"].tolist() == [[1, 2, 1, 2], [1, 2, 3, 0]]
    assert made["validation"].columns["tokens"].tolist() == [[1, 3, 2, 0]]
    assert vocabulary.decode([1, 3, 2]) == "a\N{REPLACEMENT CHARACTER}b"
    assert from_json(vocabulary.to_json()) == vocabulary
    with refuses("9 times", "min_count"):
        tokenize(splits, {"tokens": Tokens("t", min_count=9)})

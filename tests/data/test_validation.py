import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data import Table, duplicates, load, validate


def table(**columns):
    return Table({name: np.asarray(column) for name, column in columns.items()}, "the file")


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int32", "uint32", "float16", "float32", "float64", "complex64",
              ml_dtypes.bfloat16],
)  # fmt: skip
def test_accepts_what_a_device_holds(dtype):
    validate({"train": table(x=np.ones((4, 2), dtype), wide=np.arange(4))})


@pytest.mark.parametrize(
    ("columns", "fragments"),
    [
        (dict(x=np.zeros((0, 3))), ["no examples"]),
        (dict(x=np.zeros((3, 0))), ["'x'", "(3, 0)", "no values"]),
        (dict(x=np.array(["a", "bc"])), ["'x'", "text", "config.data.tokenize", "leave it out"]),
        (dict(x=np.array(["a", "bc"], object)), ["'x'", "text", "config.data.tokenize"]),
        (dict(x=np.array([["a", "bc"]])), ["'x'", "<U2", "leave it out"]),
        (dict(x=np.array(["a", None])), ["'x'", "object", "leave it out"]),
        (dict(x=np.array([b"a", b"bc"])), ["'x'", "leave it out"]),
        (dict(x=np.array([{}, None])), ["'x'", "object"]),
        (dict(x=np.array(["2020-01-01"], "M8[D]")), ["'x'", "<M8[D]"]),
        (dict(x=np.zeros(3, np.longdouble)), ["'x'", "JAX does not support"]),
        (dict(x=np.zeros(3, ">f4")), ["'x'", ">f4"]),
        (dict(x=np.zeros(3), mask=np.ones(3)), ["'mask'", "rename"]),
        (dict(x=[1.0, np.nan, np.inf, 2]), ["'x'", "example 1:", "nan", "2 of 4"]),
        (dict(x=[[0.0, 0], [0, -np.inf]]), ["'x'", "example 1, at (1,)", "-inf", "1 of 2"]),
        (dict(x=np.array([1, np.nan], ml_dtypes.bfloat16)), ["example 1", "nan"]),
        (dict(when=[1, 2**40]), ["'when'", "example 1", str(2**40), "int32"]),
        (dict(x=[1.0, 1e39]), ["'x'", "example 1", "1e+39", "float32"]),
        (dict(when=[1, -(2**31) - 1]), ["'when'", "example 1", "int32"]),
        (dict(when=np.array([2**32], np.uint64)), ["'when'", "example 0", "uint32"]),
    ],
)
def test_refuses(refuses, columns, fragments):
    with refuses("the file", *fragments):
        validate({"train": table(**columns)})


def test_wide_integers_are_fine_where_x64_is_enabled():
    with jax.enable_x64(True):
        validate({"train": table(when=[1, 2**40], x=[1.0, 1e300])})


@given(
    shape=st.sampled_from([(7,), (5, 3), (4, 2, 3)]),
    place=st.integers(0, 10**6),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_finds_the_one_value_that_is_not_finite(shape, place, value):
    column = np.zeros(shape, np.float32)
    place = place % column.size
    column.flat[place] = value
    row, *rest = (int(i) for i in np.unravel_index(place, shape))
    with pytest.raises(ValueError, match=rf"example {row}\b.*{value}") as caught:
        validate({"train": table(x=column)})
    assert not rest or f"at {tuple(rest)}" in str(caught.value)


@pytest.mark.parametrize(
    "other",
    [dict(x=np.zeros(3)), dict(x=np.zeros((2, 5), np.float32)), dict(y=np.zeros(2, np.float32)),
     dict(x=np.zeros(2, np.float32), y=np.zeros(2, np.float32))],
)  # fmt: skip
def test_refuses_splits_that_differ(refuses, other):
    with refuses("test split", "train split", "float32"):
        validate({"train": table(x=np.zeros(3, np.float32)), "test": table(**other)})


def test_refuses_data_with_no_train_split(refuses):
    with refuses("no 'train' split", "test"):
        validate({"test": table(x=np.zeros(3))})
    with refuses("the source returns Training, test; call 'Training' 'train'"):
        validate({"Training": table(x=np.zeros(3)), "test": table(x=np.zeros(3))})


@given(st.lists(st.integers(0, 9), min_size=1), st.lists(st.integers(0, 9), min_size=1))
def test_duplicates_are_equal_in_every_column(first, second):
    splits = {
        "train": table(x=np.array(first, np.uint8), y=np.ones(len(first))),
        "test": table(y=np.ones(len(second)), x=np.array(second, np.uint8)),
        "validation": table(x=np.array(second, np.uint8), y=np.zeros(len(second))),
    }
    assert duplicates(splits) == {
        ("train", "test"): len({*first} & {*second}),
        ("train", "validation"): 0,
        ("test", "validation"): 0,
    }


@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
def test_duplicates_of_texts(first, second):
    splits = {
        role: table(text=np.array(texts, object), x=np.ones(len(texts)))
        for role, texts in (("train", first), ("test", second))
    }
    assert duplicates(splits) == {("train", "test"): len({*first} & {*second})}


def test_load_validates_and_takes_a_name_or_a_function(refuses):
    assert len(load("digits")["train"]) == 1197
    assert len(load(lambda n: {"train": table(x=np.zeros(n))}, n=5)["train"]) == 5
    with refuses("no examples"):
        load(lambda: {"train": table(x=np.zeros(0))})
    for wrong in (None, np.zeros(3), {"train": np.zeros(3)}):
        with refuses("'<lambda>'", "dict of Tables"):
            load(lambda wrong=wrong: wrong)
    with refuses("'digit'", "digits", "tfds"):
        load("digit")

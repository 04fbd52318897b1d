import json

import numpy as np
import pytest

from jaxdl.data import duplicates, load, validate
from jaxdl.data.folds import Folds
from jaxdl.data.sources import csv
from jaxdl.data.sources.csv import standardization


@pytest.fixture
def sheet(tmp_path):
    def write(text, encoding="utf-8"):
        (tmp_path / "t.csv").write_bytes(text.encode(encoding))
        return str(tmp_path / "t.csv")

    return write


@pytest.fixture
def houses(sheet):
    rows = [f"{i},{i % 7},{i * 0.5},{'abc'[i % 3]}" for i in range(100)]
    return sheet("\n".join(["id,rooms,price,kind", *rows]))


def test_csv_columns(houses):
    splits = csv(houses, target="price", features=("rooms", "id"), validation_fraction=0.1)
    validate(splits)
    assert {role: len(t) for role, t in splits.items()} == {
        "train": 70, "validation": 10, "test": 20,
    }  # fmt: skip
    features = np.concatenate([t.columns["features"] for t in splits.values()])
    target = np.concatenate([t.columns["target"] for t in splits.values()])
    assert features.dtype == target.dtype == np.float32
    assert sorted(features[:, 1]) == list(range(100))
    np.testing.assert_array_equal(features[:, 0], features[:, 1] % 7)
    np.testing.assert_array_equal(target, features[:, 1] * 0.5)


def test_csv_labels_by_name_and_by_number(houses, sheet):
    splits = csv(houses, label="kind", features=("id",))
    table = splits["train"]
    assert table.classes == ("a", "b", "c") and table.columns["label"].dtype == np.int32
    np.testing.assert_array_equal(table.columns["label"], table.columns["features"][:, 0] % 3)
    numbered = csv(sheet("x,y\n1,7\n2,3\n3,5\n"), label="y", test_fraction=0.0)["train"]
    assert numbered.columns["label"].tolist() == [7, 3, 5] and numbered.classes == ()


def test_csv_forms_of_the_same_table(sheet):
    plain = csv(sheet("a,b\n1,2\n3,4\n"), target="b", test_fraction=0.0)["train"].columns
    for text, delimiter in {
        "\ufeffa,b\n1,2\n3,4": ",",
        "a, b\r\n1, 2\r\n\r\n 3 ,4\r\n": ",",
        '"a";"b"\n"1";2\n3;4e0\n': ";",
        "a\tb\n+1\t2.0\n3\t4\n": "\t",
    }.items():
        same = csv(sheet(text), target="b", test_fraction=0.0, delimiter=delimiter)["train"].columns
        for name in plain:
            np.testing.assert_array_equal(plain[name], same[name])


def test_rows_of_a_group_stay_in_one_split_and_its_column_is_kept(sheet, refuses):
    rows = [f"p{i % 20:02},{i / 7},{i % 2}" for i in range(100)]
    path = sheet("\n".join(["patient,size,ill", *rows]))
    splits = csv(path, label="ill", group="patient", validation_fraction=0.2)
    validate(splits)
    patients = [{*table.columns["patient"].tolist()} for table in splits.values()]
    assert [len(each) for each in patients] == [12, 4, 4]
    assert set().union(*patients) == {*range(20)}
    assert splits["train"].columns["features"].shape == (60, 1)  # the group is no feature
    with refuses("no column 'pateint'; did you mean 'patient'"):
        csv(path, label="ill", group="pateint")
    with refuses("in groups by 'size'", "no column twice"):
        csv(path, label="ill", group="size", features=("size",))
    with refuses("1 groups of rows leave none for the test split"):
        csv(sheet("who,size,ill\na,1,0\na,2,1\n"), label="ill", group="who")
    with refuses("line 3, column 'who': no group"):
        csv(sheet("who,size,ill\na,1,0\n,2,1\n"), label="ill", group="who")


def test_csv_split_depends_on_the_seed(houses):
    def rows(seed):
        return csv(houses, "price", features=("id",), seed=seed)["test"].columns["target"].tolist()

    assert rows(0) == rows(0) != rows(1)


def test_csv_is_standardized_by_the_train_split_alone(sheet):
    text = "\n".join(["x,constant,y", *(f"{i * i},0.1,{i}" for i in range(40))])
    raw, done = (csv(sheet(text), target="y", standardize=s) for s in (False, True))
    train = done["train"].columns["features"]
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(axis=0), [1, 0], atol=1e-6)
    assert abs(done["test"].columns["features"][:, 0].mean()) > 0.01
    mean, deviation = standardization(raw["train"].columns["features"])
    np.testing.assert_allclose(
        done["test"].columns["features"], (raw["test"].columns["features"] - mean) / deviation,
        rtol=1e-6,
    )  # fmt: skip


def test_numbers_that_differ_in_their_last_digits_alone_stay_apart(sheet, refuses):
    """Seconds since 1970 have ten digits, of which float32 keeps seven."""
    path = sheet("\n".join(["second,y", *(f"{1_700_000_000 + i},{i}" for i in range(100))]))
    splits = csv(path, target="y", standardize=True)
    train = splits["train"]
    seconds, y = train.columns["features"][:, 0], train.columns["target"]
    assert len(np.unique(seconds)) == 80
    assert np.corrcoef(seconds, y)[0, 1] == pytest.approx(1, abs=1e-9)
    (fold, *_) = (Folds(5, i).apply({"train": train}) for i in range(5))
    assert len(np.unique(fold["test"].columns["features"])) == 16
    remedy = "subtract 1700000000 from all of them, or set standardize=True"
    with refuses("column 'second': float32 can hardly distinguish numbers", remedy):
        csv(path, target="y")
    with refuses("column 'second': float32 can hardly distinguish numbers"):
        csv(path, target="second")


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ((0, 1, 0.0, 1), "['0', '0.0'] are the same number; write it in one way"),
        ((0, 1, "NA", 1), "1 cells are ['NA'], the others are numbers; remove these rows"),
        ((0, 1, "nan", "NaN"), "2 cells are ['nan', 'NaN']"),
    ],
)
def test_classes_that_cannot_be_meant_are_refused(sheet, refuses, cells, told):
    with refuses(told):
        csv(sheet("\n".join(["x,kind", *(f"{i},{c}" for i, c in enumerate(cells))])), label="kind")


def test_classes_that_may_not_be_meant_are_told(sheet, caplog):
    cells = ["Cat", "dog", "cat", "n/a"] * 5
    csv(sheet("\n".join(["x,kind", *(f"{i},{c}" for i, c in enumerate(cells))])), label="kind")
    assert "classes ['Cat', 'cat'] differ only in case or blanks" in caplog.text
    assert "5 cells are ['n/a'], which is taken for a class" in caplog.text
    signs = csv(sheet("\n".join(["x,y", *(f"{i},{(-1) ** i}" for i in range(20))])), label="y")
    assert signs["train"].classes == ("-1", "1")


def test_a_first_line_that_is_a_row_is_refused(sheet, refuses):
    rows = [f"{i / 7:.2f},{i},{'ab'[i % 2]}" for i in range(20)]
    with refuses("starts with a row (['0.00', '0', 'a'])", "write a first line with names"):
        csv(sheet("\n".join(rows)), label="a")
    years = ["country,2019,2020", *(f"c{i},{i},{i * i}" for i in range(20))]
    assert len(csv(sheet("\n".join(years)), target="2020", features=("2019",))["train"]) == 16


def test_excels_own_line_names_the_delimiter(sheet, refuses):
    splits = csv(sheet("sep=;\na;b\n1;2\n3;4\n5;6\n"), target="b", delimiter=";")
    assert len(splits["train"]) == 2
    with refuses("line 4, column 'a': 'x'"):
        csv(sheet("sep=;\na;b\n1;2\nx;4\n"), target="b", delimiter=";")


def test_gaps_are_filled_by_the_train_split_alone(sheet, caplog):
    gaps = ["", "#N/A", "NaT", "\\N", "n.a.", "--"] + [str(i * i) for i in range(54)]
    rows = "\n".join(f"{gap},{i},{i}" for i, gap in enumerate(gaps))
    path = sheet(f"a,b,c\n{rows}\n")
    for by, statistic in (("mean", np.mean), ("median", np.median)):
        splits = csv(path, target="c", impute=by)
        train = splits["train"].columns
        fill = splits["train"].features[0].fill
        known = train["features"][:, 0][train["target"] >= 6]
        assert fill == pytest.approx(statistic(known))
        assert f"filled by the train split's {by}: 'a' 6 by {fill:.6g}" in caplog.messages[-1]
        for table in splits.values():
            filled = table.columns["features"][table.columns["target"] < 6, 0]
            np.testing.assert_array_equal(filled, np.float32(fill))
        scaled = csv(path, target="c", impute=by, standardize=True)["train"]
        np.testing.assert_allclose(scaled.columns["features"].mean(0), 0, atol=1e-6)
    # The test split's numbers change nothing.
    tested = splits["test"].columns["target"].astype(int)
    rows = "\n".join(f"{1e6 if i in tested and i > 5 else g},{i},{i}" for i, g in enumerate(gaps))
    again = csv(sheet(f"a,b,c\n{rows}\n"), target="c", impute="median")
    assert again["train"].features == splits["train"].features


def test_gaps_that_nothing_fills_are_refused(sheet, refuses):
    path = sheet("a,b,flag\n1,2,yes\n,3,no\n4,,\n")
    with refuses("line 3, column 'a': an empty cell", "(1 cells are not)", "impute='median'"):
        csv(path, target="b", features=("a",), test_fraction=0.0)
    with refuses("line 4, column 'b': an empty cell", "remove the rows"):
        csv(path, target="b", features=("a",), impute="mean", test_fraction=0.0)
    with refuses("column 'b': the train split has only gaps"):
        csv(sheet("a,b\n1,\n2,NA\n"), target="a", impute="mean", test_fraction=0.0)
    with refuses("line 2, column 'b': 'x'"):
        csv(sheet("a,b\n1,x\n2,NA\n"), target="a", impute="mean", test_fraction=0.0)
    splits = csv(sheet("a,b\n1,yes\n2,\n3,no\n"), target="a", impute="mean", test_fraction=0.0)
    np.testing.assert_array_equal(splits["train"].columns["features"], [[1], [0.5], [0]])
    with refuses("gaps would be filled with numbers of all folds"):
        Folds(2).apply(splits)
    other = csv(sheet("a,b\n1,7\n2,\n3,8\n"), target="a", impute="mean", test_fraction=0.0)
    with refuses("its gaps are filled with numbers of its own train split"):
        other["train"].with_features(splits["train"].features)


def test_json_lines_are_a_table(tmp_path, refuses):
    path = tmp_path / "t.jsonl"

    def write(*lines):
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    records = [
        {"text": f'a, "b"\n{i}', "kind": "xy"[i % 2], "size": i / 2, "ok": i > 3, "seen": None}
        for i in range(10)
    ]
    splits = csv(
        write("", *map(json.dumps, records)),
        label="kind",
        text=("text",),
        features=("size", "ok"),
        test_fraction=0.0,
    )
    columns, classes = splits["train"].columns, splits["train"].classes
    assert columns["text"].tolist() == [each["text"] for each in records] and classes == ("x", "y")
    wanted = [[each["size"], each["ok"]] for each in records]
    np.testing.assert_array_equal(columns["features"], wanted)
    for line, told in {
        "[1]": "line 2: it is [1], not an object",
        '{"a": 1': "line 2:",
        '{"a": 1, "b": null}': "line 2, column 'b': an empty cell",
        '{"a": 1}': "line 2, column 'b': an empty cell",
        '{"a": 1, "b": [2]}': "column 'b'",
    }.items():
        with refuses("csv", "t.jsonl", told):
            csv(write('{"a": 1, "b": 2}', line), target="a", features=("b",), test_fraction=0.0)
    with refuses("delimiter, encoding and decimal are only for CSV files"):
        csv(str(path), target="a", delimiter=";")
    (path := tmp_path / "t.json").write_text('[{"a": 1, "b": 2},\n{"a": 2, "b": null}]')
    with refuses("t.json object 2, column 'b'"):
        csv(str(path), target="b", test_fraction=0.0)


NOTED = "# kept since 2020, in °C, by 3\n\n#\n"


@pytest.mark.parametrize("header", ["a,b,c", "#,b,c", "# a,b,c", "#a,b,c"])
def test_comments_above_the_header_are_passed_over(sheet, refuses, header):
    rows = "\n".join(f"{i},{i % 4},{i / 2}" for i in range(10))
    splits = csv(sheet(f"{NOTED}{header}\n{rows}\n"), target="c", test_fraction=0.0)
    assert len(splits["train"]) == 10
    names = header.removeprefix("# ").split(",")
    assert [each.name for each in splits["train"].features] == names[:2]
    with refuses("line 6, column 'b': 'x'"):
        csv(sheet(f"{NOTED}{header}\n1,1,1\n2,x,1\n"), target="c")


def test_comments_with_as_many_commas_as_the_header_are_no_header(sheet):
    path = sheet("# by me, for you\nword,kind\n" + "hello,a\ncheers,b\n" * 5)
    assert len(csv(path, label="kind", text=("word",), test_fraction=0.0)["train"]) == 10
    path = sheet("#word,kind\n" + "hello,a\ncheers,b\n" * 5)
    assert len(csv(path, label="kind", text=("#word",), test_fraction=0.0)["train"]) == 10


def test_a_table_in_utf_16_as_excel_writes_it(sheet):
    text = "größe\tpreis\r\n" + "".join(f"{i}\t{i / 2}\r\n" for i in range(10))
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        splits = csv(sheet(text, encoding), target="preis", delimiter="tab")
        assert [each.name for each in splits["train"].features] == ["größe"]
        assert len(splits["train"]) == 8


def test_csv_of_texts(sheet):
    """A user's own reviews, ready for a classifier of sequences."""
    rows = [f'"Film {i}, ""{word}"".",{i % 2}' for i, word in enumerate(["bad", "good"] * 20)]
    path = sheet("\n".join(["review,verdict", *rows]))
    columns = csv(path, label="verdict", text=("review",))["train"].columns
    assert set(columns) == {"review", "label"}
    for review, label in zip(columns["review"], columns["label"], strict=True):
        assert review.endswith('"good".' if label else '"bad".') and review.startswith("Film ")
    tokenize = {"tokens": dict(text="review", by="words")}
    made = load("csv", path=path, label="verdict", text=("review",), tokenize=tokenize)
    assert made["test"].columns["tokens"].shape == (8, 7)


def test_csv_of_texts_and_numbers(sheet):
    path = sheet("id,a,b,y\n1,x,p q,3\n2,y,r,4\n")
    columns = csv(path, target="y", text=("b", "a"), test_fraction=0.0)["train"].columns
    assert columns["a"].tolist() == ["x", "y"] and columns["b"].tolist() == ["p q", "r"]
    assert columns["features"].tolist() == [[1], [2]]
    alone = csv(path, text=("a",), features=(), test_fraction=0.0)["train"].columns
    assert list(alone) == ["a"]


@pytest.mark.parametrize(
    ("text", "settings", "fragments"),
    [
        ("a,b\n1,2\n,4\n", dict(text=("a",)), ["line 3", "'a'", "no text"]),
        ("a,b\n1,2\n", dict(text=("c",)), ["'c'", "a, b"]),
        ("a,b\n1,2\n", dict(text=("b",)), ["twice"]),
        ("features,b\nx,2\n", dict(text=("features",)), ["'features'", "rename"]),
        ("a,b\n1,2\nx,4\n", {}, ["line 3", "'a'", "'x'", "(1 cells are not)"]),
        ("a,b\n1,2\n,4\n,5\n", {}, ["line 3", "'a'", "an empty cell", "(2 cells are not)"]),
        ("a,b\n1,2\nnan,4\n", {}, ["line 3", "'a'", "'nan'"]),
        ("a,b\n1,2\n3,inf\n", {}, ["line 3", "'b'", "'inf'"]),
        ("a,b\n1,2\n1_000,4\n", {}, ["line 3", "'1_000'"]),
        ("a,b\n1e39,2\n", {}, ["line 2", "'a'", "1e39"]),
        ("a,b\n1,2\n3\n", {}, ["line 3", "1 cells", "header 2"]),
        ("a,b\n1,2\n3,4,5\n", {}, ["line 3", "3 cells"]),
        ("a,b\n1,2\n3,\n", dict(label="b", target=None), ["line 3", "'b'", "no label"]),
        ("", {}, ["no rows"]),
        ("a,b\n", {}, ["no rows"]),
        ("1,2\n3,4\n", {}, ["header"]),
        ("a,a,b\n1,2,3\n", {}, ["['a']", "twice"]),
        ("a;b\n1;2\n", {}, ["'b'", "a;b", "delimiter"]),
        ('a,b\n"1,2\n3,4\n', {}, ["line"]),
        ("a,b\n1,2\n3,4\n", dict(target="bb"), ["'bb'", "did you mean 'b'?"]),
        ("a,b\n1,2\n", dict(target=None), ["target", "label"]),
        ("b\n1\n2\n", {}, ["at least one"]),
        ("a,b\n1,2\n", dict(features=("a", "b")), ["twice"]),
        ("a,b\n1,2\n", dict(features=("a", "a")), ["twice"]),
        ("a,b\n1,2\n", dict(features=()), ["at least one"]),
        ("a,b\n1,2\n", dict(features=("c",)), ["'c'", "a, b"]),
        ("a,b\n1,2\n", {}, ["1 rows", "test"]),
        ("a,b\n1,2\n", dict(test_fraction=0.9), ["train"]),
        ("a,b\n1,2\n", dict(test_fraction=1.0), ["test_fraction=1.0"]),
        ("a,b\n1,2\n", dict(test_fraction=-0.1), ["test_fraction=-0.1"]),
        ("a,b\n1,2\n", dict(test_fraction=float("nan")), ["test_fraction=nan"]),
        ("a,b\n1,2\n", dict(validation_fraction=0.8), ["validation_fraction=0.8"]),
        ("a,b\n1,2\n", dict(seed=-1), ["seed=-1"]),
        ("a,b\n1,2\n", dict(delimiter=""), ["delimiter"]),
        ("a,b\n1,2\n", dict(delimiter="\n"), ["delimiter"]),
    ],
)
def test_csv_refuses(sheet, refuses, text, settings, fragments):
    with refuses("csv", *fragments):
        csv(sheet(text), **{"target": "b", **settings})


def test_csv_refuses_what_is_no_text(tmp_path, sheet, refuses):
    with refuses("cannot read", "none.csv"):
        csv(str(tmp_path / "none.csv"), target="b")
    with refuses("cannot read"):
        csv(str(tmp_path), target="b")
    with refuses("not utf-8", "encoding='cp1252'"):
        csv(sheet("ä,b\n1,2\n", "latin-1"), target="b")


def test_duplicates_of_a_table_are_counted(sheet):
    splits = csv(sheet("a,b\n" + "1,2\n" * 10 + "3,4\n" * 10), target="b", test_fraction=0.5)
    assert duplicates(splits) == {("train", "test"): 2}


ROWS = 'y,t\n1,"he said\n0,awful\n1,fine"\n0,dull\n1,good\n0,bad\n'


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ('y,t\n1,"he said\n0,awful\n0,"dull\n', ["line 4", "quotes"]),
        ('y,t\n1,"never closed\n0,bad\n', ["line 3", "quotes"]),
        (ROWS, ["line 4", "contains rows", "0,awful"]),
    ],
)
def test_a_quote_swallows_no_rows(sheet, refuses, text, fragments):
    with refuses("csv: ", *fragments):
        csv(sheet(text), label="y", text=("t",), test_fraction=0)


def test_a_text_may_go_over_lines(sheet):
    path = sheet('y,t\n1,"good, and\nlong, too"\n0,bad\n')
    columns = csv(path, label="y", text=("t",), test_fraction=0)["train"].columns
    assert columns["t"].tolist() == ["good, and\nlong, too", "bad"]


def test_a_column_that_counts_the_rows_is_no_feature(sheet, caplog):
    rows = "".join(f"{i},{(7 * i) % 5},{i % 2}\n" for i in range(9))
    for header, width in ((",x,y", 1), ("Unnamed: 0,x,y", 1), ("id,x,y", 2)):
        caplog.clear()
        columns = csv(sheet(f"{header}\n{rows}"), label="y", test_fraction=0)["train"].columns
        assert columns["features"].shape == (9, width)
        told = "numbers the rows" if width == 2 else "without a name"
        assert told in caplog.text and "features=" in caplog.text
    chosen = csv(sheet(f",x,y\n{rows}"), label="y", features=("",), test_fraction=0)
    assert chosen["train"].columns["features"].shape == (9, 1)


@pytest.mark.parametrize(
    ("cells", "classes"),
    [("007 010 007", ("007", "010")), ("1_2 1_1 2_1", ("1_1", "1_2", "2_1")), ("0 1 0", ()),
     ("1e3 2e3 1e3", ("1e3", "2e3")), ("+1 +0 +1", ("+0", "+1"))],
)  # fmt: skip
def test_names_that_look_like_numbers_are_names(sheet, cells, classes):
    rows = "".join(f"{i * i},{cell}\n" for i, cell in enumerate(cells.split()))
    table = csv(sheet(f"x,y\n{rows}"), label="y", test_fraction=0)["train"]
    assert table.classes == classes and table.columns["label"].max() == len({*cells.split()}) - 1


def test_other_encodings_decimals_and_lengths(sheet, refuses):
    path = sheet("größe;y\n1,5;2\n0,25;3\n", "cp1252")
    settings = dict(target="y", delimiter=";", test_fraction=0)
    with refuses("decimal=','", "'1,5'"):
        csv(path, **settings, encoding="cp1252")
    columns = csv(path, **settings, encoding="cp1252", decimal=",")["train"].columns
    assert columns["features"].tolist() == [[1.5], [0.25]]
    long = sheet(f"t,y\n{'x' * 300_000},1\n")
    columns = csv(long, target="y", text=("t",), test_fraction=0)["train"].columns
    assert len(columns["t"][0]) == 300_000


@pytest.mark.parametrize(
    "rows", ["3,1,0\n0,2,1\n9,3,0\n", "0.0,1,0\n1.0,2,1\n2.0,3,0\n", "a,1,0\nb,2,1\nc,4,1\n"]
)
def test_columns_without_a_name_are_no_features_whatever_is_in_them(sheet, rows):
    columns = csv(sheet(f",x,y\n{rows}"), label="y", test_fraction=0)["train"].columns
    assert columns["features"].shape == (3, 1)


@pytest.mark.parametrize(
    "text",
    [
        't,y\n"a,1.5\nb,2.5\nc",3.5\nd,4.5\n',
        't,y\n"a,1\nb",2\nc,1\n',
        'y,t,z\n1,"a,b\n2,c",d\n2,e,f\n',
    ],
)
def test_a_quote_swallows_no_numbers_nor_two_rows(sheet, refuses, text):
    texts = ("t", "z") if "z" in text else ("t",)
    with refuses("csv: ", "contains rows", "close its quote"):
        csv(sheet(text), target="y", text=texts, test_fraction=0)


def test_a_point_where_the_decimal_is_a_comma_is_refused(sheet, refuses):
    with refuses("line 3", "'1.234'", "without points"):
        csv(sheet("x;y\n1,5;2\n1.234;3\n"), target="y", delimiter=";", decimal=",")
    with refuses("'1,234'", "decimal=','", "remove the commas"):
        csv(sheet('x,y\n"1,234",2\n'), target="y")


def test_names_of_columns_in_either_unicode_form_and_tabs(sheet):
    path = sheet("cafe\u0301\ty\n1\t0\n2\t1\n")
    for delimiter in ("tab", "\\t", "\t"):
        table = csv(path, label="y", features=("caf\u00e9",), delimiter=delimiter, test_fraction=0)
        assert table["train"].columns["features"].tolist() == [[1], [2]]


def test_a_review_of_several_lines_may_look_like_a_row(sheet):
    review = '"Room {} was clean.\nBreakfast cheap, good\nWould come again.",good'
    rows = [review.format(i) for i in range(9)] + ["bad one,poor", "a bad two,poor"]
    path = sheet("\n".join(["review,sentiment", *rows]))
    splits = csv(path, text=("review",), features=(), label="sentiment")
    assert sum(map(len, splits.values())) == 11


def test_signs_between_thousands_are_read_where_they_cannot_be_decimal_ones(sheet, refuses):
    written = {
        ".": ("1,234.5", "1234567", "12,345", "0.5"),
        ",": ("1.234,5", "1.234.567", "12.345", "0,5"),
    }
    for decimal, cells in written.items():
        rows = "".join(f'"{cell}";{i}\n' for i, cell in enumerate(cells))
        path = sheet("area;price\n" + rows)
        read = csv(path, target="price", delimiter=";", decimal=decimal, test_fraction=0)
        features = read["train"].columns["features"]
        assert features[:, 0].tolist() == [1234.5, 1234567, 12345, 0.5]
    for cell in ("1'234", "1\N{RIGHT SINGLE QUOTATION MARK}234", "1\u00a0234", "1\u202f234"):
        read = csv(sheet(f"area,price\n{cell},1\n5,2\n"), target="price", test_fraction=0)
        assert read["train"].columns["features"][0, 0] == 1234
    for cell in ("1,234", "1,23,456.5", "1 234"):
        with refuses("column 'area'", "not a finite number"):
            csv(sheet(f'area,price\n"{cell}",1\n5,2\n'), target="price")


def test_the_names_of_columns_stand_in_the_first_line_alone(sheet, refuses):
    rows = "".join(f"{kind},come to me or do not {i}\n" for i, kind in enumerate(["ham", "x"] * 9))
    with refuses("starts with a row", "first line with names"):
        csv(sheet(rows), label="ham")
    named = csv(sheet("kind,what is in the text\n" + rows), text=("kind",), features=())
    assert sum(map(len, named.values())) == 18
    with refuses("line 4", "repeats the names of the columns"):
        csv(sheet("a,b\n1,x\n2,y\na,b\n"), label="b")
    with refuses("several columns have no name", "remove those above it"):
        csv(sheet("Sales of 2024,,\na,b,c\n1,2,3\n"), label="b")
    words = csv(sheet("word\nword\nother word\n"), text=("word",), test_fraction=0)
    assert len(words["train"]) == 2


def test_an_id_of_someone_numbers_the_rows(sheet, caplog):
    csv(sheet("PassengerId,age,y\n7,1,2\n3,1,3\n9,4,4\n"), target="y", test_fraction=0)
    assert "'PassengerId' numbers the rows" in caplog.text and "'age'" not in caplog.text


def test_classes_that_look_alike_are_told(sheet, caplog):
    for other in ("new  york", "new\u00a0york", "New York\u200b"):
        caplog.clear()
        csv(sheet(f"a,b\n1,new york\n2,{other}\n3,rome\n"), label="b", test_fraction=0)
        assert "differ only in case or blanks" in caplog.text and "rome" not in caplog.text


@pytest.fixture
def files(tmp_path):
    """Writes files and returns their paths, as the settings of splits."""

    def write(**contents):
        for role, content in contents.items():
            (tmp_path / f"{role}.csv").write_text(content)
        return {role: str(tmp_path / f"{role}.csv") for role in contents}

    return write


def test_each_split_may_have_a_file_of_its_own(files):
    rows = "".join(f"{i},{'xyz'[i % 3]}\n" for i in range(9))
    where = files(
        path=f"a,kind\n{rows}", test="kind,more,a\nz,1,7\nx,2,8\n", validation="a,kind\n3,y\n"
    )
    splits = csv(**where, label="kind", standardize=True)
    assert {role: len(table) for role, table in splits.items()} == {
        "train": 9, "validation": 1, "test": 2,
    }  # fmt: skip
    assert splits["test"].columns["label"].tolist() == [2, 0]
    np.testing.assert_allclose(
        splits["test"].columns["features"][:, 0], [3 / 6.667**0.5, 4 / 6.667**0.5], rtol=1e-3
    )
    assert splits["test"].where.startswith(where["test"])
    held = csv(
        **files(path=f"a,kind\n{rows}", test=f"a,kind\n{rows}"),
        label="kind",
        validation_fraction=0.3,
    )
    assert {role: len(table) for role, table in held.items()} == {
        "train": 6, "validation": 3, "test": 9,
    }  # fmt: skip


def test_cells_of_all_files_are_read_alike(files):
    where = files(path="a,b\nyes,1\nno,2\nno,3\n", test='a,b\nyes,"1,234"\nyes,"1,234,567"\n')
    splits = csv(**where, target="b")
    assert splits["test"].columns["target"].tolist() == [1234, 1234567]
    assert splits["test"].columns["features"].tolist() == [[1], [1]]


@pytest.mark.parametrize(
    ("test", "settings", "fragments"),
    [
        ("b,kind\n1,x\n", {}, ["test.csv has no column 'a'", "it has b, kind"]),
        ("a,kind\n1,x\noops,y\n", {}, ["test.csv line 3, column 'a': 'oops' is not"]),
        ("a,kind\n1,\n", {}, ["test.csv line 2, column 'kind': no label"]),
        ("a,kind\n1,q\n", {}, ["test.csv: class 'q' has no row in the file"]),
        ("a,kind\n", {}, ["test.csv has no rows"]),
        ("a;kind\n1;x\n", {}, ["test.csv has no column 'kind'", "delimiter"]),
        ("a,kind\n1,x\n", {"test_fraction": 0.2}, ["the data has a test split"]),
        (None, {"test": "nowhere.csv"}, ["nowhere.csv", "No such file"]),
    ],
)
def test_what_is_wrong_with_the_file_of_a_split_names_it(files, refuses, test, settings, fragments):
    contents = {"path": "a,kind\n1,x\n2,y\n"} | ({} if test is None else {"test": test})
    with refuses("csv", *fragments):
        csv(**files(**contents), label="kind", **settings)

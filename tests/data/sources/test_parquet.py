"""Tables in Parquet: the same as the CSV file of them."""

import numpy as np
import pytest

from jaxdl.data import load
from jaxdl.data.recognition import recognize
from jaxdl.data.sources.csv import csv

pa = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

ROWS = 40
SIZE = np.random.default_rng(0).normal(size=ROWS).astype(np.float32)
COLUMNS = {
    "size": SIZE,
    "rooms": np.arange(ROWS) % 5,
    "garden": np.arange(ROWS) % 2 == 0,
    "price": SIZE.astype(float) * 3,
    "kind": pa.array(["flat", "house"] * (ROWS // 2)).dictionary_encode(),
    "notes": ["a\nb, c"] * ROWS,
}


@pytest.fixture
def file(tmp_path):
    """Writes a table, with these columns in place of others."""

    def write(**changes):
        kept = {
            name: values for name, values in {**COLUMNS, **changes}.items() if values is not ...
        }
        parquet.write_table(pa.table(kept), tmp_path / "a.parquet")
        return str(tmp_path / "a.parquet")

    return write


def test_a_table_is_read_as_its_csv_is(file, tmp_path):
    lines = [f"{s!r},{r},{int(g)},{p!r},{k},x" for s, r, g, p, k in zip(
        SIZE.astype(float).tolist(), *(COLUMNS[n].tolist() for n in ("rooms", "garden", "price")),
        COLUMNS["kind"].to_pylist(), strict=True)]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join(["size,rooms,garden,price,kind,notes", *lines]))
    read = {"features": ("size", "rooms", "garden"), "target": "price", "label": "kind"}
    expected = load("csv", path=str(tmp_path / "a.csv"), **read)
    found = load("csv", path=file(), **read)
    for role, table in expected.items():
        assert found[role].classes == table.classes == ("flat", "house")
        assert found[role].features == table.features
        for name, column in table.columns.items():
            np.testing.assert_array_equal(found[role].columns[name], column)


def test_texts_keep_their_lines(file):
    splits = csv(file(), text=("notes",), features=())
    assert set(splits["train"].columns["notes"]) == {"a\nb, c"}


def test_init_takes_a_table(file):
    found = recognize(file(notes=...), target="price")
    assert found.settings["target"] == "price"
    assert found.settings["features"] == ("size", "rooms", "garden")


@pytest.mark.parametrize(
    ("changes", "settings", "told"),
    [
        ({"size": [None, *SIZE[1:].tolist()]}, {}, "row 1, column 'size': an empty cell is not a"),
        (
            {"size": [*SIZE[1:].tolist(), np.nan]},
            {},
            "row 40, column 'size': an empty cell is not a finite",
        ),
        ({"size": [[1.0]] * ROWS}, {}, "'a value of list<element: double>' is not a finite number"),
        ({"size": [b"x"] * ROWS}, {}, "row 1, column 'size': 'x' is not a finite number"),
        ({"size": [b"\xff"] * ROWS}, {}, "column 'size': 'a value of binary' is not a finite"),
        (
            {"notes": [b"\xff"] * ROWS},
            {"text": ("notes",)},
            "is a value of binary in each row",
        ),
        ({"size": ["big"] * ROWS}, {}, "row 1, column 'size': 'big' is not a finite number (40"),
        (
            {},
            {"delimiter": ";"},
            "delimiter, encoding and decimal are only for CSV files",
        ),
        ({}, {"target": "prise"}, "has no column 'prise'; did you mean 'price'?"),
        ({name: [] for name in COLUMNS}, {}, "has no rows"),
    ],
)
def test_what_is_no_number_is_refused_with_its_row(file, refuses, changes, settings, told):
    read = {"features": ("size", "rooms"), "target": "price"} | settings
    with refuses("csv: ", "a.parquet", told):
        load("csv", path=file(**changes), **read)


def test_files_that_are_no_tables_are_refused(file, tmp_path, refuses, monkeypatch):
    with refuses("csv: cannot read", "none.parquet: No such file or directory"):
        load("csv", path=str(tmp_path / "none.parquet"), target="a")
    path = file()
    content = (tmp_path / "a.parquet").read_bytes()
    for damaged in (b"", b"a,b\n1,2\n", content[:-9], content[:200] + bytes(60) + content[260:]):
        (tmp_path / "a.parquet").write_bytes(damaged)
        with refuses("csv: ", "a.parquet cannot be read", "; correct it"):
            load("csv", path=path, target="price")
    (tmp_path / "a.parquet").write_bytes(content)
    monkeypatch.setattr("jaxdl.data.sources.parquet._CELL", 1 << 40)
    with refuses("the 40 rows of", "a.parquet take 263883 GB, but the machine has"):
        load("csv", path=path, target="price")

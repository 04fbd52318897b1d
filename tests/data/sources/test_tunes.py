import numpy as np
import pytest

from jaxdl.data.sources.tunes import tunes, twin_tunes
from jaxdl.data.text.abc import bars, share_of_full_bars

BOOK = """% a file header, and free text

X:1
T:The Waltz
C:trad.
M:3/4
L:1/4
Q:1/4=120
K:G % one sharp
P:A
A|:"G"d2B|  "D" A3/2B/2c|"^slowly"G2e:|\\
[1"G"G2z:| % the first time
w: la la
[2 G3|[M:2/4][P:B]AB|\tGG|
M: 3/4
!trill!~d3|{g}(3ABc "_x""Em"A|]

X:2
T:The Reel
M:C
K:Am
A2B2|

Some words on the next tune.
X:3
T:The Same Reel
S:elsewhere
M:C
K:Am
A2B2|
"""


@pytest.fixture
def book(tmp_path):
    def write(content=BOOK, name="book.abc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def rows(path):
    return tunes(path, validation_fraction=0.0)["train"].columns["text"].tolist()


def test_a_row_is_the_music_alone_and_none_stands_twice(book):
    waltz, reel = rows(book())
    assert waltz == (
        'M:3/4\nL:1/4\nK:G\nA|:"G"d2B| "D" A3/2B/2c|G2e:| [1"G"G2z:|\n[2 G3|\nM:2/4\nAB| GG|\n'
        'M:3/4\n!trill!~d3|{g}(3ABc "Em"A|]\n'
    )
    assert reel == "M:C\nL:1/8\nK:Am\nA2B2|\n"


@pytest.mark.parametrize(
    ("header", "cleaned"),
    [
        ("M:2/4\nK:D", "M:2/4\nL:1/16\nK:D"),
        ("M:6/8\nK:D", "M:6/8\nL:1/8\nK:D"),
        ("L:1/16\nM:6/8\nK:D clef=treble", "M:6/8\nL:1/16\nK:D clef=treble"),
        ("K:none", "M:none\nL:1/8\nK:none"),
    ],
)
def test_the_header_has_meter_unit_and_key(book, header, cleaned):
    assert rows(book(f"X:1\nT:t\n{header}\nABc|\n")) == [f"{cleaned}\nABc|\n"]


def test_cleaning_changes_no_duration(book):
    (raw, _), (waltz, _) = [t for t in BOOK.split("\n\n") if t.startswith("X:")], rows(book())
    assert bars(raw) == bars(waltz)


def test_line_ends_and_a_byte_order_mark(book):
    expected = rows(book())
    assert rows(book(BOOK.replace("\n", "\r\n"))) == expected
    assert rows(book(b"\xef\xbb\xbf" + BOOK.encode())) == expected
    assert rows(book(BOOK.replace("trad.", "Niccolò, trad."))) == expected


def many(first, count):
    return "\n".join(f"X:{i}\nM:4/4\nK:C\nA{i}B|\n" for i in range(first, first + count))


def test_a_file_a_folder_a_pattern(book, tmp_path):
    book(many(1, 20), "one.abc")
    book(many(21, 20), "below/two.abc")
    book("no tunes", "notes.txt")
    for path, count in ((".", 40), ("one.abc", 20), ("*.abc", 20), ("**/*.abc", 40)):
        assert len(rows(str(tmp_path / path))) == count


def test_splits_are_disjoint_and_depend_on_the_seed(book):
    path = book(many(1, 100))
    splits, again = (tunes(path, 0.1, 0.2) for _ in range(2))
    parts = {role: set(table.columns["text"]) for role, table in splits.items()}
    assert {role: len(part) for role, part in parts.items()} == {
        "train": 70, "validation": 10, "test": 20,
    }  # fmt: skip
    assert len(set.union(*parts.values())) == 100
    for role in splits:
        np.testing.assert_array_equal(splits[role].columns["text"], again[role].columns["text"])
    assert set(tunes(path, 0.1, 0.2, seed=1)["test"].columns["text"]) != parts["test"]


TUNE = "X:1\nM:4/4\nK:C\nAB|\n\n"


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("", ["no tune"]),
        ("It was a dark and stormy night.\n", ["no tune", "X:1"]),
        (b"\x00\xffX:1\n", ["not text", "byte 1", "leave it out"]),
        ((TUNE + "X:2\nC:José\nK:C\nA\n").encode("latin-1"), ["not utf-8", "encoding='cp1252'"]),
        (TUNE.encode("utf-16")[:-1], ["begins as utf-16 does"]),
        (TUNE + "X:27\nT:t\nABc|\n", ["line 6", "X:27", "the field K:"]),
        (TUNE + "X:27\nT:t\n\nK:C\nABc|\n", ["line 6", "X:27", "the field K:"]),
        (TUNE + "X:3 % x\nK:C\n", ["line 6", "X:3:", "no note"]),
        (TUNE + "X:3\nK:C\n|:|:|\nw:ABC\n", ["line 6", "X:3", "no note"]),
        (TUNE + "X:3\nM:4/\nK:C\nABC|\n", ["line 6", "X:3", "M:'4/'", "correct"]),
        (TUNE + "X:3\nL:eighth\nK:C\nABC|\n", ["line 6", "X:3", "L:'eighth'"]),
        (TUNE + "X:3\nK:C\nV:1\nABC|\nV:2\nC2|\n", ["line 6", "X:3", "several voices"]),
        (TUNE, ["1 rows leave none for the validation split"]),
    ],
)
def test_refuses(book, refuses, content, fragments):
    path = book(content)
    with refuses("tunes:", path, *fragments):
        tunes(path)


def test_refuses_paths(tmp_path, refuses):
    (tmp_path / "bare").mkdir()
    for name in ("none.abc", "bare", "*.abc"):
        with refuses("tunes: ", "no ", "file", name):
            tunes(str(tmp_path / name))
    with refuses("test_fraction=1"):
        (tmp_path / "a.abc").write_text(TUNE)
        tunes(str(tmp_path / "a.abc"), test_fraction=1.0)


def test_one_voice_that_is_named_is_a_tune(book):
    assert rows(book("X:1\nK:C\nV:1\n[V:1]ABc|\n")) == ["M:none\nL:1/8\nK:C\nABc|\n"]


def test_all_bars_of_the_twin_add_up():
    splits = twin_tunes(test_fraction=0.1)
    texts = [text for table in splits.values() for text in table.columns["text"]]
    assert {role: len(t) for role, t in splits.items()} == {
        "train": 170, "validation": 10, "test": 20,
    }  # fmt: skip
    assert len(set(texts)) == 200
    assert share_of_full_bars("".join(texts)) == (3200, 3200)
    every = [bar for text in texts for bar in bars(text)]
    assert all(bar.duration == bar.meter for bar in every)
    heads = {tuple(text.split("\n")[:3]) for text in texts}
    assert len(heads) == 12 and {unit for _, unit, _ in heads} == {"L:1/8"}


def test_the_twin_is_as_tunes_reads_it(book):
    texts = [t for table in twin_tunes().values() for t in table.columns["text"]]
    path = book("\n".join(f"X:{i}\n{text}" for i, text in enumerate(texts)))
    assert rows(path) == texts


def test_the_twin_depends_on_the_seed():
    first, again, other = (twin_tunes(seed=seed)["train"].columns["text"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


def test_the_file_header_holds_for_tunes_without_those_fields(book):
    tune = "X:1\n{}K:D\nABc|\n"
    header = "%abc-2.1\nM:6/8 % a jig\nL:1/16\nK:G\nC:me\n\nL:1/4\nfree text\n\n"
    assert rows(book(header + tune.format(""))) == ["M:6/8\nL:1/16\nK:D\nABc|\n"]
    assert rows(book(header + tune.format("M:C\n"))) == ["M:C\nL:1/16\nK:D\nABc|\n"]


@pytest.mark.parametrize("kind", ["text", "ps", "svg"])
def test_blocks_of_text_are_not_music(book, refuses, kind):
    block = f"%%begin{kind} 2\nA bad cab\nX:9\n\n%%end{kind}\n"
    tune = f"{block}X:1\nK:D\n{block}ABc|\n%%begin{kind}\n%%end{kind}\ndef|\n"
    assert rows(book(tune)) == ["M:none\nL:1/8\nK:D\nABc|\ndef|\n"]
    with refuses("line 1:", f"no %%end{kind}"):
        rows(book(f"%%begin{kind}\nX:1\nK:C\nABc|\n"))
    with refuses("line 18, tune X:2"):
        rows(book(tune + "\nX:2\nABc|\n"))


def test_bad_tunes_may_be_left_out(book, refuses, caplog):
    path = book(TUNE + "X:2\nABc|\n\n" + TUNE.replace("AB", "BA") + "X:4\nK:C\n|\n")
    with refuses("tune X:2", "2 such tunes", "skip=2"):
        tunes(path, 0.0, skip=1)
    assert len(tunes(path, 0.0, skip=2)["train"]) == 2
    assert "left out 2" in caplog.text and "X:4" in caplog.text
    with refuses("skip=-1"):
        tunes(path, skip=-1)


def test_another_encoding(book):
    path = book("X:1\nC:José\nK:C\nABc|\n".encode("cp1252"))
    assert len(tunes(path, 0.0, encoding="cp1252")["train"]) == 1

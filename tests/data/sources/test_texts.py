import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data import load
from jaxdl.data.sources import text
from jaxdl.data.sources.texts import split

ROLES = ("train", "validation", "test")


def documents(splits, role):
    return splits[role].columns["text"].tolist()


@pytest.fixture
def write(tmp_path):
    def file(content, name="book.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return file


def test_a_file_is_split_by_characters(write):
    splits = text(write("ä" * 80 + "b" * 10 + "c" * 10), 0.1, 0.1)
    assert [documents(splits, role) for role in ROLES] == [["ä" * 80], ["b" * 10], ["c" * 10]]
    assert splits["train"].columns["text"].dtype == object


def test_by_default_there_is_no_test_split(write):
    assert {role: len(t.columns["text"][0]) for role, t in text(write("x" * 100)).items()} == {
        "train": 95, "validation": 5,
    }  # fmt: skip
    assert list(text(write("x" * 100), validation_fraction=0.0)) == ["train"]


@given(
    st.lists(st.text("ab", min_size=10, max_size=40), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.1, 0.25, 0.4]),
    st.sampled_from([0.0, 0.1, 0.25, 0.4]),
)
def test_splits_are_the_text_in_order(files, validation, test):
    total = len("".join(files))
    splits = split(files, validation, test, "files")
    parts = [part for role in ROLES if role in splits for part in documents(splits, role)]
    assert "".join(parts) == "".join(files)
    assert len(parts) <= len(files) + 2
    held_out = {"validation": validation, "test": test}
    for role in set(splits) - {"train"}:
        assert len("".join(documents(splits, role))) == round(total * held_out[role])


def test_a_folder_is_its_text_files_by_name(write, tmp_path):
    for name in ("c.txt", "a.txt", "b.txt", "notes.md"):
        write(name * 10, f"plays/{name}")
    whole = {"validation_fraction": 0.0}
    expected = [name * 10 for name in ("a.txt", "b.txt", "c.txt")]
    assert documents(text(str(tmp_path / "plays"), **whole), "train") == expected
    assert documents(text(str(tmp_path / "plays" / "[ab].txt"), **whole), "train") == expected[:2]
    assert documents(text(str(tmp_path / "*" / "*.md"), **whole), "train") == ["notes.md" * 10]


def test_files_that_are_called_after_splits_are_told(write, tmp_path, caplog):
    for name in ("ptb.train.txt", "ptb.test.txt"):
        write("some text " * 9, name)
    text(str(tmp_path))
    assert "['ptb.test.txt', 'ptb.train.txt'] have the names of splits" in caplog.text


def test_a_home_and_a_name_with_brackets(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write("x" * 40, "draft [2].txt")
    assert len(text("~/draft [2].txt")["train"]) == 1


@pytest.mark.parametrize(
    ("encoding", "setting"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("utf-16", "utf-16"), ("cp1252", "cp1252"),
     ("latin-1", "iso8859-1"), ("utf-32", "utf-32"), ("utf-16-le", "utf-16-le")],
)  # fmt: skip
def test_encodings_and_line_ends(write, encoding, setting):
    path = write("Grüße\r\nan\ralle\n".encode(encoding))
    read = documents(text(path, validation_fraction=0.0, encoding=setting), "train")
    assert read == ["Grüße\nan\nalle\n"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(write, encoding, refuses):
    for mark, order in (("", ""), ("\ufeff", "-le"), ("\ufeff", "-be")):
        path = write((mark + "Grüße\r\nan alle").encode(encoding + order))
        assert documents(text(path, validation_fraction=0.0), "train") == ["Grüße\nan alle"]
    with refuses("is not ascii", f"try encoding={encoding!r}"):
        text(write("Grüße".encode(encoding)), encoding="ascii")
    with refuses(f"begins as {encoding} does, but is not", "in UTF-8"):
        text(write("Grüße".encode(encoding)[:-1]))


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_the_encoding_to_try_is_the_one(write, encoding, refuses):
    sentence = "Grüße\x81 an alle" if encoding == "latin-1" else "Grüße an alle"
    path = write(sentence.encode(encoding))
    with refuses(path, "byte", "utf-8", f"encoding={encoding!r}"):
        text(path)
    read = documents(text(path, validation_fraction=0.0, encoding=encoding), "train")
    assert read == [sentence]


@pytest.mark.parametrize(
    ("content", "settings", "fragments"),
    [
        (b"", {}, ["0 bytes", "remove"]),
        (b"\n \t\n", {}, ["only blanks", "4 bytes"]),
        ("\ufeff", {}, ["only blanks"]),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff", {}, ["not text", "byte 0", "leave it out"]),
        (b"abc\0def", {}, ["not text", "zero byte at 3", "UTF-8"]),
        (b"abc \xff\xfe", {}, ["byte 4", "not utf-8", "'cp1252'"]),
        ("grün".encode(), dict(encoding="ascii"), ["byte 2", "not ascii", "'utf-8'"]),
        (b"abcdefg", dict(encoding="utf-16"), ["not utf-16", "'utf-8'"]),
        (b"abc", dict(encoding="utf8mb4"), ["'utf8mb4'", "unknown", "cp1252"]),
        (b"abc", dict(encoding="hex"), ["'hex'", "unknown"]),
        (b"abc", {}, ["3 characters", "none for the validation split"]),
        (b"abc", dict(validation_fraction=0.4, test_fraction=0.1), ["none for the test split"]),
        (b"abc", dict(validation_fraction=0.9), ["none for the train split"]),
        (b"abc", dict(validation_fraction=1.0), ["validation_fraction=1.0"]),
        (b"abc", dict(test_fraction=-0.5), ["test_fraction=-0.5"]),
    ],
)
def test_refuses(write, refuses, content, settings, fragments):
    with refuses("text", *fragments):
        text(write(content), **settings)


def test_refuses_what_is_not_there(tmp_path, refuses):
    with refuses("no file", "none.txt", "pattern"):
        text(str(tmp_path / "none.txt"))
    with refuses("no file matches", "*.txt"):
        text(str(tmp_path / "*.txt"))
    with refuses("no .txt file", "pattern"):
        text(str(tmp_path))


def test_names_the_split_of_a_character_not_seen(write, refuses):
    path = write("a b" * 100 + "€")
    with refuses("validation", "example 0", "'€'", "subwords"):
        load("text", path=path, tokenize={"tokens": dict(text="text", window=10)})
    windows = {"tokens": dict(text="text", by="words", window=10)}
    made = load("text", path=path, tokenize=windows)
    assert 1 in made["validation"].columns["tokens"]  # the unknown word


def test_the_plays_are_read_in_the_blink_of_an_eye(tmp_path):
    """Five megabytes of characters: by arrays, not one by one."""
    (tmp_path / "plays.txt").write_text("To be, or not to be,\n" * 250_000)
    tokens = {"tokens": dict(text="text", window=100)}
    made = load("text", path=str(tmp_path / "plays.txt"), tokenize=tokens)
    assert np.count_nonzero(made["train"].columns["tokens"][:, 1:]) == 21 * 250_000 * 0.95 - 1

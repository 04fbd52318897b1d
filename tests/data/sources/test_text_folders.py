import numpy as np
import pytest

from jaxdl.data import load, validate
from jaxdl.data.sources import text_folders


@pytest.fixture
def write(tmp_path):
    def file(name, content="a text"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return file


@pytest.fixture
def mail(write, tmp_path):
    for i in range(60):
        write(f"spam/{i}", f"buy {i}")
        write(f"ham/{i}.txt", f"hello {i}\n")
    return str(tmp_path)


def test_a_text_has_the_class_of_its_folder(mail):
    splits = text_folders(mail, test_fraction=0.25, validation_fraction=0.25)
    assert sum(len(table) for table in splits.values()) == 120
    assert all(20 <= len(splits[role]) <= 40 for role in ("validation", "test"))
    for table in splits.values():
        text, label = table.columns["text"], table.columns["label"]
        assert table.classes == ("ham", "spam") and label.dtype == np.int32
        assert [each.startswith("buy") for each in text] == (label == 1).tolist()
        assert not any("\n" in each for each in text)


def test_splits_are_folders_and_more_texts_move_none(write, tmp_path, mail):
    before = text_folders(mail)["test"].columns["text"].tolist()
    write("ham/600.txt", "hello again")
    after = text_folders(mail)["test"].columns["text"].tolist()
    assert {*before} <= {*after} <= {*before, "hello again"}
    for name in ("train", "dev", "testing"):
        write(f"split/{name}/a/1.txt", name)
    splits = text_folders(str(tmp_path / "split"))
    assert {role: t.columns["text"].tolist() for role, t in splits.items()} == {
        "train": ["train"], "validation": ["dev"], "test": ["testing"],
    }  # fmt: skip


def test_its_words_are_tokens(mail):
    tokens = {"tokens": {"text": "text", "by": "words"}}
    splits = load("text_folders", path=mail, tokenize=tokens)
    validate(splits)
    assert splits["train"].columns["tokens"].shape[1] == 2


def test_what_is_of_no_class_is_left_out_and_told(write, mail, caplog):
    for name in ("urls.txt", "unsup/1.txt", "ham/picture.png", "ham/.hidden"):
        write(name)
    write("spam/empty.txt", " \n")
    splits = text_folders(mail)
    assert sum(len(table) for table in splits.values()) == 120
    assert splits["train"].classes == ("ham", "spam")
    folders, told, blank = caplog.messages
    assert "unsup, whose texts are of no class" in folders
    assert all(name in told for name in ("urls.txt", "picture.png"))
    assert "left out empty files" in blank and "empty.txt" in blank


def test_refuses_what_is_no_folder_of_classes(write, tmp_path, mail, refuses, caplog):
    write("none/a.txt")
    with refuses("text_folders", "none has no folders; each class needs one with its texts"):
        text_folders(str(tmp_path / "none"))
    write("half/train/a/1.txt")
    write("half/test/1.txt")
    assert {*text_folders(str(tmp_path / "half"))} == {"train"}
    assert "test, whose texts are of no class" in caplog.text
    write("blank/a/1.txt")
    write("blank/b/1.txt", "")
    with refuses("class 'b' has no readable text in the train split"):
        text_folders(str(tmp_path / "blank"), test_fraction=0.0)
    write("old/a/1.txt", b"caf\xe9")
    with refuses("1.txt is not utf-8", "try encoding='cp1252'"):
        text_folders(str(tmp_path / "old"), test_fraction=0.0)
    read = text_folders(str(tmp_path / "old"), test_fraction=0.0, encoding="cp1252")
    assert read["train"].columns["text"].tolist() == ["café"]

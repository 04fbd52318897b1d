"""Paths as other systems, machines and tools write them."""

import os

import pytest

from jaxdl.data import user_files
from jaxdl.data.sources import box_files
from jaxdl.data.sources.box_files import inside


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "set" / "images"
    for name in ("b c.jpg", "caf\u00e9.jpg", "sub/a.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (tmp_path / "secret.jpg").write_text("")
    (tmp_path / "set" / "secret.jpg").write_text("")
    return folder


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sub/a.jpg", "sub/a.jpg"),
        ("./sub\\a.jpg", "sub/a.jpg"),
        ("..\\sub\\a.jpg", "sub/a.jpg"),
        ("images/sub/a.jpg", "sub/a.jpg"),
        ("../set/images/sub/a.jpg", "sub/a.jpg"),
        ("/content/drive/set/images/sub/a.jpg", "sub/a.jpg"),
        ("C:\\Users\\x\\sub\\a.jpg", "sub/a.jpg"),
        ("D:/b c.jpg", "b c.jpg"),
        ("https://host.org/v1/b%20c.jpg", "b c.jpg"),
        ("s3://bucket/sub/a.jpg", "sub/a.jpg"),
        ("/data/local-files/?d=x/sub/a.jpg", "sub/a.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
    ],
)
def test_paths_of_others_are_found_below_the_folder(root, name, found):
    assert inside(name, "it", root) == found


def test_an_absolute_path_into_the_folder_is_its_own(root):
    assert inside(str(root / "sub" / "a.jpg"), "it", root) == "sub/a.jpg"


@pytest.mark.parametrize(
    "name",
    ["../secret.jpg", "../../secret.jpg", "/etc/passwd", "", "sub/../../secret.jpg",
     "https://host.org/none.jpg", "C:\\none.jpg"],
)  # fmt: skip
def test_what_is_not_below_the_folder_is_refused(root, refuses, name):
    with refuses("it: "):
        inside(name, "it", root)


def test_backslashes_lead_out_of_no_folder(root, refuses):
    for name in ("sub\\..\\..\\secret.jpg", "..\\secret.jpg"):
        assert user_files.spelt(root, name) is None
        with refuses("it: "):
            box_files.listed(root, [name], ["it"])


def test_paths_of_another_machine_are_told_once(root, caplog):
    box_files._told.clear()
    for name in ("/a/b c.jpg", "/a/sub/a.jpg"):
        inside(name, "it", root)
    assert len(caplog.messages) == 1 and "another machine" in caplog.text


def test_a_pattern_finds_no_files_that_a_system_left(tmp_path):
    for name in ("a.txt", "@eaDir/b.txt", "__MACOSX/c.txt", "deep/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = user_files.find(str(tmp_path / "**" / "*.txt"), ".txt", "text")
    assert [os.path.relpath(file, tmp_path) for file in found] == ["a.txt", "deep/d.txt"]
    assert user_files.find(str(tmp_path / "@eaDir" / "*.txt"), ".txt", "text")

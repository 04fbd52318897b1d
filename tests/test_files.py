"""What is written is whole, leads nowhere else, and is waited for by nobody."""

import errno
import logging
import os
import socket
from pathlib import Path

import pytest

from jaxdl.checkpointing.run_directory import Run
from jaxdl.data import load
from jaxdl.errors import UserError
from jaxdl.files import (
    Secondary,
    append_bytes,
    local,
    make_parent,
    open_plain,
    remove_partial,
    replace_text,
)


def link(path, victim):
    path.symlink_to(victim)


def dangling(path, victim):
    path.symlink_to(victim.with_name("gone"))


def pipe(path, _):
    os.mkfifo(path)


def listening(path, _):
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


PLANTS = [link, dangling, pipe, listening]
WRITERS = {
    "replace": lambda path: replace_text(path, "new"),
    "append": lambda path: append_bytes(path, b"new"),
    "open": lambda path: open_plain(path, os.O_RDWR),
}
TOP = ("lock", "config.json", "metrics.jsonl", "events.out.tfevents.1.x", "checkpoints", "figures")


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("way", WRITERS)
def test_what_is_not_a_plain_file_is_refused_and_stays(tmp_path, victim, way, plant):
    plant(tmp_path / "target", victim)
    before = os.lstat(tmp_path / "target").st_ino
    with pytest.raises(UserError, match=r"'target' is a (symbolic link|named pipe|socket), where"):
        WRITERS[way](tmp_path / "target")
    assert victim.read_text() == "precious" and os.lstat(tmp_path / "target").st_ino == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target", "victim"]


def test_a_device_is_refused():
    with pytest.raises(UserError, match="'null' is a device"):
        replace_text(Path("/dev/null"), "")


@pytest.mark.parametrize("way", WRITERS)
def test_a_link_planted_after_the_check_is_not_followed(tmp_path, victim, monkeypatch, way):
    (tmp_path / "target").symlink_to(victim)
    monkeypatch.setattr("jaxdl.files.special", lambda path: None)
    if way == "replace":
        WRITERS[way](tmp_path / "target")
        assert not (tmp_path / "target").is_symlink()
    else:
        with pytest.raises(UserError, match="cannot be written"):
            WRITERS[way](tmp_path / "target")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("name", TOP)
def test_a_run_with_a_link_at_its_top_is_refused(tmp_path, victim, name, plant):
    (tmp_path / "run").mkdir()
    plant(tmp_path / "run" / name, victim)
    with pytest.raises(UserError, match=f"run: '{name}' is a .*; remove it"):
        Run(tmp_path / "run")
    assert victim.read_text() == "precious" and len(list((tmp_path / "run").iterdir())) == 1


def test_a_run_that_is_reached_through_a_link_is_as_good_as_any(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    run = Run(tmp_path / "runs" / "a")
    with run.locked():
        run.claim({"seed": 1})
        run.start(0, {})
        run.log(1, {"loss": 0.5})
    assert Run(tmp_path / "disk" / "a").history() == [{"step": 1, "loss": 0.5}]


def test_an_append_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    append_bytes(path, b"one\n")

    class Full(type(open_plain(path, os.O_WRONLY | os.O_APPEND))):
        def write(self, data):
            if len(data) > 2:
                return super().write(data[:2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("jaxdl.files.io.FileIO", Full)
    with pytest.raises(UserError, match=r"lines: cannot be written \(No space left.*make room"):
        append_bytes(path, b"two\n")
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_replacement_that_fails_is_one_line_and_leaves_what_was_there(
    tmp_path, monkeypatch, number
):
    path = tmp_path / "a.json"
    replace_text(path, "old")

    def fails(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("jaxdl.files.os.fsync", fails)
    with pytest.raises(UserError, match=r"a\.json: cannot be written \(.*\); \w+") as error:
        replace_text(path, "new")
    assert "\n" not in str(error.value) and path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_a_kill_left_half_written_goes(tmp_path):
    for name in (".a.json.0123456789abcdef.partial", ".a.json.mine", "partial"):
        (tmp_path / name).touch()
    remove_partial(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.json.mine", "partial"]


def test_what_is_secondary_is_told_once_and_tried_no_more(caplog):
    calls = []

    def fails(error):
        calls.append(error)
        raise error

    figures = Secondary("figures")
    for _ in range(3):
        figures(fails, KeyError("a"))  # a mistake in one says nothing of the others
    for _ in range(3):
        figures(fails, OSError(errno.ENOSPC, "No space left on device"))
    assert len(calls) == 4 and len(caplog.records) == 2
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.records[0].getMessage() == "figures: KeyError: 'a'; the run goes on without"
    assert "No space left on device; the run goes on without" in caplog.text


def test_the_home_folder_that_a_shell_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local("~/run") == tmp_path / "run" and Run("~/run").folder == tmp_path / "run"


@pytest.mark.parametrize("address", ["gs://b/run", "s3://b", "file:///tmp/x", "https://a.org/b"])
def test_an_address_is_no_local_folder(address, tmp_path, monkeypatch, refuses):
    monkeypatch.chdir(tmp_path)
    for use in (
        lambda: local(address),
        lambda: make_parent(Path(address) / "a.png"),
        lambda: load("coco", path=".", train=("a.json", address), size=(8, 8)),
    ):
        with refuses("is not read or written; copy or mount it"):
            use()
    with refuses("cannot hold a run", "copy or mount it, and give a local path"):
        Run(address)
    assert not [*tmp_path.iterdir()]
    for path in ("C:/x", "a:b/c", "/gs:/x", "gs"):
        assert local(path) == Path(path)

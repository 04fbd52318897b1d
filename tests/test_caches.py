"""The cache folder: the user's own, or none."""

import os
from pathlib import Path

import pytest

from jaxdl import caches


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The cache's home, which does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a" / "home"))
    return tmp_path / "a" / "home"


def said(caplog):
    """The one line that was said, however often it is asked."""
    assert caches.usable("kind") is None and caches.usable("kind") is None
    (record,) = caplog.records
    message = record.getMessage()
    assert "\n" not in message and "set XDG_CACHE_HOME" in message
    return message


def test_a_new_folder_is_for_this_user_alone_whatever_the_umask(home, caplog):
    before = os.umask(0)
    try:
        place = caches.usable("kind")
    finally:
        os.umask(before)
    assert place == home / "jaxdl" / "kind"
    for path in (home.parent, home, home / "jaxdl", place):
        assert path.stat().st_mode & 0o777 == 0o700
    assert not caplog.records


def test_an_older_folder_that_others_can_read_is_closed_to_them(home):
    place = home / "jaxdl" / "kind"
    place.mkdir(parents=True)
    (place / "file").touch(mode=0o644)
    assert caches.usable("kind") == place and place.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("below", ["", "jaxdl", "jaxdl/kind"])
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_is_not_used(home, caplog, below, mode):
    caches.usable("kind")
    (home / below).chmod(mode)
    assert f"others can write {home / below}" in said(caplog)


def test_a_sticky_folder_may_be_above_but_not_it(home, caplog):
    caches.usable("kind")
    home.chmod(0o1777)
    assert caches.usable("kind")
    (home / "jaxdl" / "kind").chmod(0o1777)
    assert "others can write" in said(caplog)


@pytest.mark.parametrize("below", ["", "jaxdl", "jaxdl/kind", "jaxdl/kind/file"])
def test_what_belongs_to_another_user_is_not_used(home, caplog, below):
    if os.geteuid():
        pytest.skip("only root can give files away")
    (caches.usable("kind") / "file").touch()
    os.chown(home / below, 1234, -1)
    assert f"{home / below} belongs to another user (1234)" in said(caplog)


def test_links_are_followed_to_where_nobody_else_can_write(home, tmp_path, caplog):
    home.parent.mkdir()
    (tmp_path / "mine").mkdir(mode=0o700)
    home.symlink_to(tmp_path / "mine")
    assert caches.usable("kind") == tmp_path / "mine" / "jaxdl" / "kind"
    (tmp_path / "mine").chmod(0o777)
    assert "others can write" in said(caplog)


def test_a_file_that_others_could_write_spoils_a_folder_that_they_could_enter(home, caplog):
    place = caches.usable("kind")
    (place / "planted").touch()
    (place / "planted").chmod(0o666)
    place.chmod(0o755)
    assert "planted" in said(caplog)


def test_a_link_in_it_is_not_followed(home, tmp_path, caplog):
    (caches.usable("kind") / "planted").symlink_to(tmp_path)
    assert "symbolic link" in said(caplog)


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_of_ones_own_is_sound(tmp_path, mode, caplog):
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(mode)
    assert caches.sound(tmp_path / "file") and not caplog.records
    assert not caches.sound(tmp_path / "none") and not caplog.records


def test_without_a_home_there_is_no_cache(monkeypatch, caplog):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert "home directory" in said(caplog)


def test_a_relative_home_is_none(monkeypatch, caplog, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert "not an absolute path" in said(caplog) and not list(tmp_path.iterdir())


def test_a_file_in_its_place_is_no_cache(home, caplog):
    home.parent.mkdir()
    home.touch()
    assert "cannot be written" in said(caplog)

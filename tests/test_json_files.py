"""The one reader of JSON: a value of the type, or one line."""

import json
import os
from dataclasses import dataclass
from typing import Any

import pytest

from jaxdl import json_files
from jaxdl.errors import UserError


@dataclass
class Thing:
    step: int
    metrics: dict[str, float | None]
    names: list[str]
    inner: dict[str, Any] | None = None


SOUND = {"step": 3, "metrics": {"a/loss": 1, "b": None}, "names": ["x"]}


def test_sound_values_pass_and_more_keys_do_no_harm(tmp_path):
    path = tmp_path / "a.json"
    for value in (SOUND, {**SOUND, "inner": None}, {**SOUND, "inner": {"x": []}, "more": 1}):
        path.write_text(json.dumps(value))
        assert json_files.read(path, Thing) == value
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert json_files.read(path) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not JSON (line 1, column 1"),
        (b"{", "not JSON"),
        (b"\xff\xfe{\0}\0", "byte 0 is not UTF-8"),
        (b"[" * 10**6, "nested too deeply"),
        (b"[" * 65 + b"]" * 65, "nested too deeply"),
        (b'{"a": ' * 70 + b"1" + b"}" * 70, "nested too deeply"),
        (b"7" * 5000, "4,300 digits"),
        (b"[1]", "it is [1], not an object"),
        (b"null", "it is null, not an object"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
    ],
)
def test_a_text_that_is_no_such_json_is_one_line(text, reason):
    with pytest.raises(UserError) as caught:
        json_files.parse(text, Thing, "here", "mend it")
    message = str(caught.value)
    assert message.startswith("here: ") and message.endswith("; mend it") and reason in message
    assert "\n" not in message and len(message) < 200


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"step": "3"}, "step is '3', not a whole number"),
        ({"step": True}, "step is True, not a whole number"),
        ({"step": 3.0}, "step is 3.0, not a whole number"),
        ({"step": None}, "step is null"),
        ({"step": 10**400}, "step is 1000"),
        ({"metrics": []}, "metrics is [], not an object"),
        ({"metrics": {"a/loss": "low"}}, "metrics.'a/loss' is 'low', not a number or null"),
        ({"metrics": {"a": float("nan")}}, "metrics.a is nan"),
        ({"metrics": {"a": float("inf")}}, "metrics.a is inf"),
        ({"names": "xy"}, "names is 'xy', not a list"),
        ({"names": ["x", 3]}, "names[1] is 3, not text"),
        ({"names": ["\x1b[2J" * 10**5, {}]}, "names[1] is {}"),
        ({"names": [{"\n": "\x1b" * 10**6}]}, "names[0] is {"),
        ({"inner": 3}, "inner is 3, not an object or null"),
    ],
)
def test_a_value_of_another_type_is_named_by_its_place(change, reason):
    with pytest.raises(UserError) as caught:
        json_files.parse(json.dumps({**SOUND, **change}), Thing, "here")
    message = str(caught.value)
    assert reason in message and message.isprintable() and len(message) < 600


def test_a_number_may_be_larger_than_whole_numbers_are():
    value = {**SOUND, "metrics": {"loss": 5.663569265394178e20, "mse": -1e300}}
    assert json_files.parse(json.dumps(value), Thing, "here") == value


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match="it has no 'names'"):
        json_files.parse('{"step": 1, "metrics": {}}', Thing, "here")


def test_what_is_not_a_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "none"):
        with pytest.raises(UserError, match="cannot be read"):
            json_files.read(tmp_path / name)
        with pytest.raises(UserError, match="cannot be read"):
            list(json_files.read_lines(tmp_path / name, dict))


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no room
    with pytest.raises(UserError, match="1,099,511,627,776 bytes"):
        json_files.read(tmp_path / "a.json")


def test_lines_are_read_up_to_what_a_kill_cut_short(tmp_path):
    path = tmp_path / "a.jsonl"
    for end in (b"", b'{"a": 3', b'{"a"', b"\0\0\0"):
        path.write_bytes(b'{"a": 1}\n{"a": 2}\n' + end)
        assert list(json_files.read_lines(path, dict[str, int])) == [{"a": 1}, {"a": 2}]
    path.write_bytes(b'{"a": 1}\n{"a": 2}')
    assert len(list(json_files.read_lines(path, dict[str, int]))) == 2


@pytest.mark.parametrize("line", [b"[1]", b'{"a": 1.5}', b'{"a": ', b"", b"\xff"])
def test_a_damaged_line_is_named(tmp_path, line):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    with pytest.raises(UserError, match=r"a\.jsonl line 2: "):
        list(json_files.read_lines(tmp_path / "a.jsonl", dict[str, int]))


def test_what_is_not_finite_is_null_however_deep(tmp_path):
    json_files.write_json(tmp_path / "a.json", {"m": [1.0, float("nan"), (float("inf"),)]})
    assert json_files.read(tmp_path / "a.json") == {"m": [1.0, None, [None]]}

"""Types as people write them, and docstrings taken apart."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest

from jaxdl.signatures import documentation, in_words


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "int"),
        (float | None, "float or None"),
        (tuple[str, ...] | None, "list of str or None"),
        (tuple[int, int], "(int, int)"),
        (Literal["refuse", "drop"], "'refuse' or 'drop'"),
        (Mapping[str, Any], "dict"),
        (Callable[[int], int], "function"),
        (list[bool], "list of bool"),
        (Any, "any"),
        (int | float | complex | None, "number or None"),
    ],
)
def test_types_in_words(hint, words):
    assert in_words(hint) == words


def test_a_docstring_has_a_summary_a_body_and_arguments():
    def function(a, b, c, d):
        """One line.

        A paragraph:
          with a list.

        Args:
          a, b: two of a kind, of
            two lines.
          c: a dict: its keys.

            A paragraph of its own.
          d: the last.

        Returns:
          e: nothing.
        """

    said = documentation(function)
    assert said.summary == "One line."
    assert said.body == "A paragraph:\n  with a list."
    assert said.arguments == {
        "a": "two of a kind, of two lines.",
        "b": "two of a kind, of two lines.",
        "c": "a dict: its keys. A paragraph of its own.",
        "d": "the last.",
    }


def test_no_docstring():
    assert documentation(lambda x: x) == ("", "", {})

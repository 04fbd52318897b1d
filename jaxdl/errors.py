"""The one exception that a user's mistake raises."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(ValueError):
    """A mistake that the user can mend.

    The message is one line: what is wrong, where, and the remedy. The command line prints it
    without a traceback and exits with status 2.
    """


class Diverged(UserError):
    """Training has come to numbers that are not finite."""


def some(faults: Sequence[str], most: int = 4) -> str:
    """The first of several faults in one line, and how many more there are."""
    more = f"; and {len(faults) - most} more" if len(faults) > most else ""
    return "; ".join(faults[:most]) + more

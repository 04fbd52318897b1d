"""Output to the terminal: all of it is printed here, or by `jaxdl.progress`.

Names of classes, arrays and files come from others, and may hold control characters. So everything
is printed by `say`, `stream` and `complain`, which escape them. Escaping in `sys.stdout` itself
would not work: it cannot tell a line end in a name from one of ours, and would break the progress
bars of other libraries.
"""

from __future__ import annotations

import io
import logging
import sys
import traceback
import warnings
from collections.abc import Collection, Iterable, Sequence
from types import TracebackType
from typing import Any

from jaxdl.errors import printable

LINE = 10_000  # characters of a line at most; a table of metrics may be long


def say(line: object = "") -> None:
    """Print one line, with control characters escaped."""
    print(printable(line, LINE))


def aligned(rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The lines of a table; columns are to the left but for these, which are to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, strict=True)
        padded = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(cells)]
        return "  ".join(padded).rstrip()

    return [line(row) for row in rows]


def stream(text: str) -> None:
    """Print a piece of text immediately; line ends and tabs are kept."""
    print(printable(text, None, keep="\n\t"), end="", flush=True)


def complain(message: object, who: str = "jaxdl") -> None:
    """Print an error in one line to stderr."""
    print(f"{who}: {printable(message, LINE)}", file=sys.stderr)


def set_up(hooks: bool) -> None:
    """Escape control characters in logs, and characters that the terminal cannot encode.

    Args:
      hooks: do it in Python's warnings and tracebacks too; only if the process is jaxdl's own.
    """
    sys.stdout = sys.stdout or io.StringIO()  # `>&-` closes them
    sys.stderr = sys.stderr or io.StringIO()
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(_Line("jaxdl: %(message)s"))
    logging.basicConfig(handlers=[handler])
    if hooks:
        warnings.showwarning = _warn
        sys.excepthook = _report


class _Line(logging.Formatter):
    """Formats each record as one escaped line; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record), LINE)

    def formatException(self, ei: Any) -> str:
        return printable(super().formatException(ei), None, keep="\n\t")


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    complain(f"{category.__name__}: {message} ({filename}:{lineno})")


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    lines = "".join(traceback.format_exception(kind, error, trace))
    print(printable(lines, None, keep="\n\t"), end="", file=sys.stderr)

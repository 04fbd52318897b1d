r"""Figures that show the text of others as it is.

Names of classes, files and columns come from data. Matplotlib takes what stands between two `$` for
mathematics, and `$\frac{1}{0$ $` ends in an exception of its parser; with `text.usetex` it would be
LaTeX, which reads files.
"""

from __future__ import annotations

import warnings
from typing import Any

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, LogFormatter, LogFormatterMathtext, ScalarFormatter

from jaxdl.errors import printable

_LONGEST = 300  # characters of a text


class PlainFigure(Figure):
    """A figure of which no text is mathtext or LaTeX; controls are escaped, long text shortened."""

    def draw(self, renderer: Any) -> None:
        """Draw it; `savefig` calls this before it measures anything."""
        for ax in self.axes:
            for axis in (ax.xaxis, ax.yaxis):
                _label_plainly(axis)
        for text in self.findobj(Text):
            text.set_parse_math(False)
            text.set_usetex(False)
            text.set_text(_plain(text))
        super().draw(renderer)

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """Write it, without the warning about glyphs that the font lacks."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning)
            super().savefig(*arguments, **options)


def _label_plainly(axis: Axis) -> None:
    """Have the labels that an axis was given made plain, and numbers written as 0.3, not as powers.

    What Matplotlib writes at each drawing is changed here, where it comes from.
    """
    for minor in (False, True):
        formatter = axis.get_minor_formatter() if minor else axis.get_major_formatter()
        locator = axis.get_minor_locator() if minor else axis.get_major_locator()
        if isinstance(formatter, LogFormatterMathtext):
            numbers = _Numbers(labelOnlyBase=formatter.labelOnlyBase)
            (axis.set_minor_formatter if minor else axis.set_major_formatter)(numbers)
        elif isinstance(locator, FixedLocator) and not isinstance(formatter, ScalarFormatter):
            labels = axis.get_ticklabels(minor=minor)
            axis.set_ticklabels([_plain(label) for label in labels], minor=minor)


class _Numbers(LogFormatter):
    """Labels the ticks of a logarithmic axis that Matplotlib would, as 0.3 and not as 3·10⁻¹."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def _plain(text: Text) -> str:
    return printable(text.get_text(), _LONGEST, keep="\n")

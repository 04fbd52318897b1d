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
from matplotlib.ticker import FixedLocator, LogFormatter, ScalarFormatter

from jaxdl.errors import printable

_LONGEST = 300  # characters of a text


class PlainFigure(Figure):
    """A figure of which no text is mathtext or LaTeX; controls are escaped, long text shortened.

    The numbers of an axis, which Matplotlib itself writes, are left alone: on a logarithmic one
    they are powers.
    """

    def draw(self, renderer: Any) -> None:
        """Draw it; `savefig` calls this before it measures anything."""
        axes = [axis for ax in self.axes for axis in (ax.xaxis, ax.yaxis)]
        numbers = {text for axis in axes for text in _numbers(axis)}
        for text in set(self.findobj(Text)) - numbers:
            text.set_parse_math(False)
            text.set_usetex(False)
            text.set_text(_plain(text))
        super().draw(renderer)

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """Write it; that the font lacks a glyph, of which a frame is drawn, is nothing to say."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning)
            super().savefig(*arguments, **options)


def _numbers(axis: Axis) -> list[Text]:
    """The labels of an axis that Matplotlib writes; those that it was given are made plain."""
    numbers = []
    for minor in (False, True):
        labels = axis.get_ticklabels(minor=minor)
        formatter = axis.get_minor_formatter() if minor else axis.get_major_formatter()
        locator = axis.get_minor_locator() if minor else axis.get_major_locator()
        if isinstance(formatter, ScalarFormatter | LogFormatter):
            numbers += labels
        elif isinstance(locator, FixedLocator):
            axis.set_ticklabels([_plain(label) for label in labels], minor=minor)
    return numbers


def _plain(text: Text) -> str:
    return printable(text.get_text(), _LONGEST, keep="\n")

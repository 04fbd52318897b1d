"""Texts that a model generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxdl.figures.canvas import RED
from jaxdl.figures.classification import gallery
from jaxdl.figures.finished import FinishedRun
from jaxdl.figures.needs import lacking, needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@needs(
    lambda run: run.measures("written") and run.has("image"),
    "a task that generates text about images",
)
def captions(run: FinishedRun) -> Figure:
    """Images of the last evaluated split with the generated captions; red where one is wrong.

    A caption is wrong where it differs from the image's own text.

    Raises:
      UserError: the task does not generate text about images.
    """
    tables = {k: v for k, v in run.tables.items() if k.endswith("/written")}
    split = list(tables)[-1].partition("/")[0] if tables else "train"
    images = run.splits[split].columns.get("image")
    if not tables or images is None:
        raise lacking(captions)
    pairs = tables[f"{split}/written"][:8]
    colors = ["black" if text == reference else RED for text, reference in pairs]
    return gallery(list(images[: len(pairs)]), [text for text, _ in pairs], colors)

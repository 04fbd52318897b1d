"""What was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxdl.errors import UserError
from jaxdl.figures.canvas import RED
from jaxdl.figures.classification import gallery
from jaxdl.figures.finished import Finished

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def captions(run: Finished) -> Figure:
    """Images of the last evaluated split, with what was written of them; red where it differs.

    Raises:
      UserError: the task writes nothing about images.
    """
    written = {k: v for k, v in run.tables.items() if k.endswith("/written")}
    split = list(written)[-1].partition("/")[0] if written else "train"
    images = run.experiment.splits[split].columns.get("image")
    if not written or images is None:
        raise UserError("config.figures: 'captions' needs a task that writes about images")
    pairs = written[f"{split}/written"][:8]
    colors = ["black" if text == asked else RED for text, asked in pairs]
    return gallery(list(images[: len(pairs)]), [text for text, _ in pairs], colors)

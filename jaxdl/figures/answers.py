"""Images with the answers of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxdl.figures.classification import gallery
from jaxdl.figures.detection import boxes_gallery
from jaxdl.tasks.answer import Answer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def answers_gallery(images: Sequence[np.ndarray], answers: Sequence[Sequence[Answer]]) -> Figure:
    """Images (height, width, channels) with their boxes, or under their first answer.

    Args:
      images: at least one, of any size.
      answers: those for each image, best first.
    """
    if any(answer.box is not None for of_image in answers for answer in of_image):
        return boxes_gallery(images, answers)
    titles = [f"{best[0].name}  {best[0].value:.3f}" if best else "" for best in answers]
    return gallery(images, titles)

"""Sources: functions that read a data set, or a user's own files, into a `Table` for each split.

They know images/, text/, the files right in data/ and, since they are in the same registry, the
sources that need no files in synthetic/; they know no model and no task. To add one, write a
function with typed keyword parameters, which become the settings of `config.data`, that returns
`{'train': Table(…), …}`, and name it in `SOURCES`; one in your own code needs no entry, since a
config can name it as `'package.module:function'`.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxdl.data.sources.arrays import arrays
from jaxdl.data.sources.captions import captions
from jaxdl.data.sources.coco import coco
from jaxdl.data.sources.csv import csv
from jaxdl.data.sources.csv_boxes import csv_boxes
from jaxdl.data.sources.huggingface import huggingface
from jaxdl.data.sources.image_folders import images
from jaxdl.data.sources.piano_rolls import piano_rolls
from jaxdl.data.sources.text_folders import text_folders
from jaxdl.data.sources.texts import text
from jaxdl.data.sources.tfds import tfds
from jaxdl.data.sources.tfds_boxes import tfds_boxes
from jaxdl.data.sources.tunes import tunes
from jaxdl.data.sources.voc import voc
from jaxdl.data.sources.yolo import yolo
from jaxdl.data.synthetic.addition import addition
from jaxdl.data.synthetic.builtin import blobs, digits, polynomial
from jaxdl.data.synthetic.drawn_boxes import drawn_boxes
from jaxdl.data.synthetic.drawn_objects import drawn_objects
from jaxdl.data.synthetic.episodes import episodes
from jaxdl.data.synthetic.shapes import shapes
from jaxdl.data.table import Table

SOURCES: dict[str, Callable[..., dict[str, Table]]] = {
    source.__name__: source
    for source in (
        addition,
        arrays,
        blobs,
        captions,
        coco,
        csv,
        csv_boxes,
        digits,
        drawn_boxes,
        drawn_objects,
        episodes,
        huggingface,
        images,
        piano_rolls,
        polynomial,
        shapes,
        text,
        text_folders,
        tfds,
        tfds_boxes,
        tunes,
        voc,
        yolo,
    )
}

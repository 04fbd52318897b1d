"""Images with boxes: what is in them, and where.

Whatever the annotations are written in, a source of boxes gives these columns. Pictures differ in
size, so each is scaled to fit a canvas, the same for all, and lies at its top left; the rest is 0.
Images differ in how many objects they have, so there is room for as many as the one with most has.

    image   (N, height, width, 3) uint8: the canvases
    boxes   (N, room, 4) float32: (x₁, y₁, x₂, y₂) in pixels of the canvas, the right and lower
            sides where the next pixel begins; 0 where there is no object
    labels  (N, room) int32: the classes, or -1 where there is no object
    crowd   (N, room) bool: a group, or an object too hard to count
    extent  (N, 2) float32: height and width of the picture on the canvas
    scale   (N,) float32: pixels of the canvas for one of the image as it was
"""

from jaxdl.data.boxes.canvas import Canvases, fit
from jaxdl.data.boxes.coco import coco
from jaxdl.data.boxes.drawn import drawn_boxes, drawn_cells
from jaxdl.data.boxes.from_tfds import tfds_boxes
from jaxdl.data.boxes.voc import voc
from jaxdl.data.boxes.yolo import yolo

__all__ = ["Canvases", "coco", "drawn_boxes", "drawn_cells", "fit", "tfds_boxes", "voc", "yolo"]

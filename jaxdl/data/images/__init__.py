"""Images: decoding, cropping, and annotations with boxes, from encoded bytes to columns.

Here are Pillow and libjpeg-turbo (`pixels`, `jpeg`), what training and evaluation see of an image
(`crops`, `canvas`, `annotations`), and columns that decode when they are needed (`lazy`). It knows
`user_files`, `limits` and `table` in the room above, and no source. To add a place that encoded
images come from, write a class like `lazy.EncodedFiles`; augmentation on the device belongs to
`jaxdl.transforms`.
"""

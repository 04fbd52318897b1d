"""Synthetic data: sources that need no files, and the twins that replace real data offline.

It knows the files right in data/, images/, and the sources for which `twins` has a twin. To add a
source, write a function as in `jaxdl.data.sources`, and name it there in `SOURCES`. To add a twin,
write a function that returns the same columns, and name it in `twins.TWINS` (a data set of TFDS),
`twins.BOXES` (one with boxes) or `twins.STAND_INS` (a source of a user's own files).
"""

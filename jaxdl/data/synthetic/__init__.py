"""Synthetic data: sources that need no files.

It knows images/, and the files right in data/ but for `twins`. To add a source, write a function as
in `jaxdl.data.sources`, and name it there in `SOURCES`.
"""

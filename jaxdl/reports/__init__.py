"""Reports: runs compared, shown on an HTML page, and verified; nothing is trained here.

All but `verify` only read files: they need neither data, model nor accelerator, and run no code of
a run.
"""

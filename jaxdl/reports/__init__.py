"""Runs beside one another, on a page, and held against what they say; nothing is trained here.

All but `verify` reads files alone: it needs neither data, model nor accelerator, and runs no code
of a run.
"""

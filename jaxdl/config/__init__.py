"""Configs: read one, and build each part from its signature.

A config is a Python file with `get_config() -> ml_collections.ConfigDict`. A node such as
`config.model = dict(name='mlp', widths=(200, 100))` stands for a call: `name` picks the callable,
from a registry (a plain dict) or as a dotted `'package.module:thing'`, and the other keys are its
arguments. So the signature is the schema, and there is no second one to keep in step with it.

    files.py         config file -> nested dicts and tuples of JSON values
    annotations.py   whether the keys of a node are arguments of a callable, of the types it wants
    nodes.py         what a node names, with its defaults, and built

A dotted name runs code. What a config file of the user's own names is imported; what a file of a
run names, only from a module that the user has consented to (`jaxdl.named_code.FromRun`).
"""

from jaxdl.config.annotations import (
    argument_types,
    call,
    checked,
    group_in,
    options_of,
    parameters,
    typed,
)
from jaxdl.config.files import as_own, at, differences, from_run, plain, read, read_json
from jaxdl.config.nodes import Selectable, build, choose, complete, defaults, find, takes

__all__ = [
    "Selectable",
    "argument_types",
    "as_own",
    "at",
    "build",
    "call",
    "checked",
    "choose",
    "complete",
    "defaults",
    "differences",
    "find",
    "from_run",
    "group_in",
    "options_of",
    "parameters",
    "plain",
    "read",
    "read_json",
    "takes",
    "typed",
]

"""The command line: it parses, calls and prints.

`main` is the entry point, `options` has what several commands share, and each command has a file of
its own. Every other room may be used, but is imported only when a command runs: `jaxdl --help`
imports neither JAX nor Flax. To add a command, write a file with `add(commands)`, which declares
its options, and `run(options, overrides)`, and list it in `main`.
"""

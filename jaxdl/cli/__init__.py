"""The command line: it parses, calls and prints, and decides nothing.

It holds the entry (`main`), the options that several commands share (`options`), and a file for
each command. It may use every other room, each only when the command is run: `jaxdl --help` imports
neither JAX nor Flax. To add a command, write a file with `add(commands)`, which declares its
options, and `run(options, overrides)`, and name it in `main`.
"""

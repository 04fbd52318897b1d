"""`python -m jaxdl` is `jaxdl`."""

from jaxdl.cli import main

if __name__ == "__main__":
    main()

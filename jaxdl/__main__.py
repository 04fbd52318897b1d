"""`python -m jaxdl` is `jaxdl`."""

import sys

if __name__ == "__main__":
    # Python puts the current directory first, and a run's directory may hold a json.py.
    if not sys.flags.safe_path:
        sys.path.append(sys.path.pop(0))
    from jaxdl.cli.main import main

    main()

"""The shipped configs, as modules: `from jaxdl.configs import bccd_fcos` works anywhere.

Their folder stands inside the package once it is installed, and in a checkout beside it.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
__path__ = [str(next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0]))]


def shipped() -> dict[str, Path]:
    """The configs that come with jaxdl: name -> file."""
    return {path.stem: path for path in sorted(Path(__path__[0]).glob("[!_]*.py"))}

"""Where a source's files are: here, or at an address from which they are downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxdl.errors import UserError
from jaxdl.files import local
from jaxdl.remote import local_path

_PLACES = {
    "arrays": ("train", "validation", "test"),
    "captions": ("path", "images"),
    "csv": ("path", "validation", "test"),
}


def places_of(source: str) -> tuple[str, ...]:
    """The settings of one of our sources that name files or folders, or their addresses."""
    return _PLACES.get(source, ("path",))


def brought_here(source: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one of our sources, with paths of this machine for addresses.

    Raises:
      UserError: an address cannot be read, or is in a setting that does not take one.
    """
    return {
        name: _brought(source, name, value, settings)
        if name in places_of(source)
        else _here(name, value)
        for name, value in settings.items()
    }


def needs_folder(source: str, path: str, settings: Mapping[str, Any]) -> bool:
    """Whether a source reads other files in the folder of the one that is named."""
    if source == "captions":
        return settings.get("images") is None
    return source == "yolo" and path.lower().endswith((".yaml", ".yml"))


def _brought(source: str, name: str, value: Any, settings: Mapping[str, Any]) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return local_path(value, with_folder=needs_folder(source, value, settings))
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _here(name: str, value: Any) -> Any:
    """The value; refuses an address, which would be taken for a path here."""
    if isinstance(value, tuple | list):
        for part in value:
            _here(name, part)
    elif isinstance(value, str) and "://" in value:
        try:
            local(value)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
    return value

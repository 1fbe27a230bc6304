"""What every reader asks of a file before it opens it."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

from vitlens_core.errors import ConfigError, InputError


def optional(package: str, extra: str = "files") -> ModuleType:
    """A library of an extra, imported now. Raises ConfigError if it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"this needs {package}, which is not installed: pip install 'vitlens[{extra}]'"
        ) from error


def existing(path: str | Path, endings: Collection[str], what: str) -> Path:
    """`path` as a Path, if it is a file with content and one of the endings.

    Args:
        endings: lower case, with the dot.
        what: the content expected, for messages ("a sound file").

    Raises:
        InputError: missing, a folder, empty, or of another ending.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"expected {what} at {path}, found {found}")
    if path.suffix.lower() not in endings:
        raise InputError(f"expected {what} ({', '.join(sorted(endings))}), found {path.name}")
    if not path.stat().st_size:
        raise InputError(f"expected {what}, found an empty file: {path}")
    return path


def unreadable(path: Path, what: str, error: Exception) -> InputError:
    """The error for a file whose content cannot be read as what its name says."""
    return InputError(f"{path} cannot be read as {what}: {error}. It is damaged or misnamed")

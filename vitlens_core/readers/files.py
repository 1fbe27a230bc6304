"""What every reader asks of a file before it opens it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from vitlens_core.errors import InputError


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

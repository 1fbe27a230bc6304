"""folder_state: what a folder looks like from outside, as a digest; no file is opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from vitlens_core.errors import TransientError


def folder_state(folder: Path) -> str:
    """Of the names, sizes and times of change of all files below; links are followed.

    Raises:
        TransientError: a folder below cannot be listed.
    """
    seen = hashlib.sha256()
    for place, names in _folders(folder):
        seen.update(f"{os.path.relpath(place, folder)}\0".encode(errors="surrogateescape"))
        for name in names:
            try:
                status = os.stat(f"{place}/{name}")  # strings: a data set may hold millions
                mark = f"{status.st_size} {status.st_mtime_ns}"
            except OSError as error:  # a dead link, or gone since it was listed
                mark = type(error).__name__
            seen.update(f"{name}\0{mark}\0".encode(errors="surrogateescape"))
    return seen.hexdigest()


def _folders(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Every folder below that holds files, with their names, in order."""
    visited: set[str] = set()

    def refuse(error: OSError) -> None:
        raise TransientError(f"{error.filename}: {error.strerror}") from error

    for place, folders, files in os.walk(str(folder), onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:  # a link that leads back
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        if files:
            yield place, sorted(files)

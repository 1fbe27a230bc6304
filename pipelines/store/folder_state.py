"""folder_state: a digest of a folder's listing; no file is opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from vitlens_core.errors import TransientError


def folder_state(folder: Path) -> str:
    """Return a digest of the names, sizes and modification times of all files below `folder`.

    Links are followed.

    Raises:
        TransientError: a folder below cannot be listed.
    """
    sha = hashlib.sha256()
    for place, names in _folders(folder):
        sha.update(f"{os.path.relpath(place, folder)}\0".encode(errors="surrogateescape"))
        for name in names:
            try:
                # A string, not a Path: a data set may have millions of files.
                status = os.stat(f"{place}/{name}")
                mark = f"{status.st_size} {status.st_mtime_ns}"
            except OSError as error:  # a dead link, or a file deleted since it was listed
                mark = type(error).__name__
            sha.update(f"{name}\0{mark}\0".encode(errors="surrogateescape"))
    return sha.hexdigest()


def _folders(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder below that has files, with the names of its files, in order."""
    visited: set[str] = set()

    def refuse(error: OSError) -> None:
        raise TransientError(f"{error.filename}: {error.strerror}") from error

    for place, folders, files in os.walk(str(folder), onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:  # a link to a folder above or beside would repeat it, or never end
            folders.clear()
            continue
        visited.add(real)
        folders.sort()  # in place: os.walk descends in this order, so the digest is stable
        if files:
            yield place, sorted(files)

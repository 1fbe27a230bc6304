"""states: what a folder or some remote files look like from outside, as a digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import aiohttp
import fsspec

from pipelines.artifacts import digest
from pipelines.transfer import transfer_errors
from vitlens_core.errors import TransientError

# What filesystems call a file's version, the surest first; one that lacks all tells the size.
_VERSION_TAGS = ("ETag", "etag", "Content-MD5", "md5Hash", "Last-Modified", "LastModified", "mtime")


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


def remote_state(filesystem: fsspec.AbstractFileSystem, paths: Iterable[str]) -> str:
    """Of the sizes and version tags of some files; none is fetched.

    Raises:
        BadSampleError: no such file, or refused.
        TransientError: the server does not answer, or not for now.
    """
    return digest([_remote_mark(filesystem, path) for path in paths])


def _remote_mark(filesystem: fsspec.AbstractFileSystem, path: str) -> dict[str, str]:
    with transfer_errors(path):
        try:
            info = filesystem.info(path)
        except FileNotFoundError as error:
            # fsspec says so of every HTTP failure.
            if isinstance(error.__cause__, aiohttp.ClientError | TimeoutError):
                raise error.__cause__ from error
            raise
    tag = next((f"{name} {info[name]}" for name in _VERSION_TAGS if info.get(name)), "")
    return {"size": str(info.get("size")), "tag": tag}


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

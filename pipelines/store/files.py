"""files: what is written appears whole or not at all, with its size and checksum.

Folders and object stores (any fsspec URL) alike. Nothing is held in memory: large files
are written piece by piece, for an object store first to the local disk.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field
from upath import UPath

from vitlens_core.errors import StorageError

_NO_SPACE = "free some space, or move the store to a larger disk"
_ADVICE = {
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EACCES: "let this user read and write there",
    errno.EPERM: "let this user read and write there",
    errno.EROFS: "make it writable, or choose another store",
}


class FileEntry(BaseModel):
    """A file as it was written."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="in its folder")
    size_bytes: int
    sha256: str = Field(description="of its bytes, hexadecimal")


class HashedFile:
    """A binary file that knows the size and checksum of what was written to it."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self._size_bytes += len(data)
        return self._file.write(data)

    @property
    def entry(self) -> FileEntry:
        return FileEntry(
            name=self._name, size_bytes=self._size_bytes, sha256=self._sha256.hexdigest()
        )


@contextmanager
def atomic_file(path: UPath | Path) -> Generator[HashedFile]:
    """A file to write, which appears at `path` when the block is left without an error.

    Raises:
        OSError: no space, no permission; nothing has changed at `path`.
    """
    folder = path.parent if isinstance(path, Path) else Path(tempfile.gettempdir())
    temporary = folder / f".{path.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        with temporary.open("wb") as file:
            hashed = HashedFile(file, path.name)
            yield hashed
            file.flush()
            os.fsync(file.fileno())
        if isinstance(path, Path):
            temporary.replace(path)
        else:
            path.fs.put_file(str(temporary), path.path)  # object stores put whole objects
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: UPath | Path, data: bytes) -> FileEntry:
    """Write a whole file or nothing."""
    with atomic_file(path) as file:
        file.write(data)
    return file.entry


def file_entry(path: UPath | Path) -> FileEntry:
    """Size and checksum of a file as it lies there."""
    sha, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
            size += len(block)
    return FileEntry(name=path.name, size_bytes=size, sha256=sha.hexdigest())


def made_once(folder: Path, make: Callable[[Path], Path]) -> Path:
    """`folder`, made first if it is not there: whole or not at all, whoever asks at once.

    Args:
        make: fills a scratch folder beside `folder` and returns what in it becomes `folder`.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as scratch:
        whole = make(Path(scratch))
        try:
            whole.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster
                raise
    return folder


@contextmanager
def storage_errors(where: UPath | Path | None = None) -> Generator[None]:
    """Turns what the system refuses into a `StorageError`: what, where, and what to do.

    Args:
        where: named if the system does not say: a full disk does not.
    """
    try:
        yield
    except (OSError, *client_errors()) as error:
        system = error if isinstance(error, OSError) else OSError()
        place = system.filename or where
        advice = _ADVICE.get(system.errno or 0, "see to the store")
        raise StorageError(
            f"{f'{place}: ' if place else ''}{system.strerror or error}; {advice}. What is "
            "finished stays: the same command goes on from there"
        ) from error


def client_errors() -> tuple[type[Exception], ...]:
    """What clients of remote stores raise beside OSError; of those that were imported."""
    return _loaded("aiohttp", "ClientError") + _loaded("botocore.exceptions", "BotoCoreError")


def no_connection() -> tuple[type[Exception], ...]:
    """Those of them that say that no connection came about."""
    of_aiohttp = _loaded("aiohttp", "ClientConnectorError", "ConnectionTimeoutError")
    return of_aiohttp + _loaded("botocore.exceptions", "ConnectionError")


def _loaded(module: str, *names: str) -> tuple[type[Exception], ...]:
    imported = sys.modules.get(module)
    return tuple(getattr(imported, name) for name in names) if imported else ()

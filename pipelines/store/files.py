"""files: writes files that appear whole or not at all, with their size and checksum.

Paths are in local folders or object stores (any fsspec URL). Large files are written piece by
piece, so that they never lie in memory; for an object store they are written to the local disk
first.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import sys
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field
from upath import UPath

from pipelines.store.text import redacted
from vitlens_core.errors import ConfigError, StorageError
from vitlens_core.scratch import Scratch

_NO_SPACE = "free some space, or move the store to a larger disk"
_ADVICE = {
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EACCES: "let this user read and write there",
    errno.EPERM: "let this user read and write there",
    errno.EROFS: "make it writable, or choose another store",
}


_TEMPORARY = re.compile(r"\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<started>\d+)-\w+\.tmp$")


class FileEntry(BaseModel):
    """A file as it was written."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="file name in its folder")
    size_bytes: int
    sha256: str = Field(description="SHA-256 of its bytes, hexadecimal")

    @classmethod
    def of(cls, name: str, data: bytes) -> FileEntry:
        return cls(name=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


class HashedFile:
    """A binary file that counts and hashes what is written to it."""

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
    """Open a file that appears at `path` when the block ends without an error.

    Raises:
        OSError: no space or no permission; `path` is unchanged.
    """
    # In the same folder: a rename is atomic within one file system only.
    scratch = None if isinstance(path, Path) else Scratch("upload")
    folder = path.parent if scratch is None else scratch.path
    temporary = folder / f".{path.name}.{_writer()}-{uuid.uuid4().hex[:12]}.tmp"
    try:
        with temporary.open("wb") as file:
            hashed = HashedFile(file, path.name)
            yield hashed
            file.flush()
            os.fsync(file.fileno())  # else a loss of power may leave the new name on an empty file
        if isinstance(path, Path):
            temporary.replace(path)
        else:
            path.fs.put_file(str(temporary), path.path)  # an object store puts objects whole
    finally:
        temporary.unlink(missing_ok=True)
        if scratch is not None:
            scratch.cleanup()


def store_file(source: Path, path: UPath | Path) -> FileEntry:
    """Copy a local file to `path`, whole or not at all; errors as `atomic_file`."""
    with source.open("rb") as read, atomic_file(path) as file:
        shutil.copyfileobj(read, file)
    return file.entry


def local_file(path: UPath, folder: Path) -> Path:
    """Return a file of the store as one of this machine: itself, or its copy in `folder`."""
    if isinstance(path, Path):
        return path
    local = Path(folder, path.name)
    path.fs.get_file(path.path, str(local))
    return local


def is_abandoned(name: str) -> bool:
    """Whether a temporary file of `atomic_file` has lost its writer: a process of this machine.

    Those of other machines are kept, as their processes cannot be asked.
    """
    match = _TEMPORARY.search(name)
    if match is None or match["machine"] != _machine():
        return False
    return process_started(int(match["pid"])) != match["started"]


def _writer() -> str:
    pid = os.getpid()
    return f"{_machine()}-{pid}-{process_started(pid)}"


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def process_started(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty if there is none.

    With the process id, which the system reuses, it names a process. psutil's `create_time`
    changes when somebody sets the clock; ticks do not.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    after_name = stat.rpartition(")")[2].split()  # the name in parentheses may contain spaces
    return after_name[19]  # field 22 of proc(5), `starttime`; field 3 is the first one here


def write_atomic(path: UPath | Path, data: bytes) -> FileEntry:
    """Write a whole file or nothing."""
    with atomic_file(path) as file:
        file.write(data)
    return file.entry


def opened_place(given: str | Path, named_by: str) -> UPath:
    """Return the folder of this machine or of an object store that a user named.

    Args:
        named_by: the option or variable, as errors name it.

    Raises:
        ConfigError: no file system reads such an address here.
    """
    try:
        place = UPath(given)
        place.fs  # noqa: B018  the package for it is imported here, and its address read
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"{named_by}={redacted(str(given))}: {redacted(str(error))}; expected a folder, or an "
            "address such as s3://BUCKET/FOLDER whose package is installed (`pip install "
            "vitlens[s3]`)"
        ) from error
    return place


def private_folder(folder: Path) -> Path:
    """Return a folder that only this user can enter, and make it if needed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def private_once(path: Path, make: Callable[[], str]) -> str:
    """Return the text of a file that only this user can read, and write it if there is none.

    It appears whole, and one text wins if several processes write it at once.
    """
    if not path.exists():
        private_folder(path.parent)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        temporary.touch(mode=0o600)
        temporary.write_text(make())
        with suppress(FileExistsError):
            os.link(temporary, path)  # unlike a rename, it never replaces another's file
        temporary.unlink()
    return path.read_text()


def file_entry(path: UPath | Path) -> FileEntry:
    """Measure the size and checksum of a file."""
    sha, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
            size += len(block)
    return FileEntry(name=path.name, size_bytes=size, sha256=sha.hexdigest())


def made_once(folder: Path, make: Callable[[Path], Path]) -> Path:
    """Return `folder`, and make it first if it does not exist.

    It appears whole or not at all, also if several processes make it at once.

    Args:
        make: fills a scratch folder beside `folder` and returns the path in it that becomes
            `folder`.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Scratch("making", str(folder.parent)) as scratch:
        whole = make(scratch)
        try:
            whole.rename(folder)
        except OSError:
            if not folder.exists():  # if it exists, another process was faster
                raise
    return folder


def names_in(folder: UPath) -> set[str]:
    """Return what a folder holds; in an object store there is none before its first file."""
    if not isinstance(folder, Path):
        folder.fs.invalidate_cache(folder.path)  # of listings: other processes write there too
    try:
        return {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


@contextmanager
def storage_errors(where: UPath | Path | None = None) -> Generator[None]:
    """Turn errors of the system into a `StorageError` that says what, where and what to do.

    Args:
        where: place to name if the error names none, as that of a full disk.
    """
    try:
        yield
    except (OSError, *client_errors()) as error:
        system = error if isinstance(error, OSError) else OSError()
        place = system.filename or where
        advice = _ADVICE.get(system.errno or 0, "check the store")
        raise StorageError(
            f"{f'{place}: ' if place else ''}{system.strerror or error}; {advice}. Finished work "
            "is kept: run the same command again to go on"
        ) from error


def client_errors() -> tuple[type[Exception], ...]:
    """Return what the imported clients of remote stores raise beside OSError."""
    return _loaded("aiohttp", "ClientError") + _loaded("botocore.exceptions", "BotoCoreError")


def no_connection() -> tuple[type[Exception], ...]:
    """Return the client errors that mean that no connection could be made."""
    of_aiohttp = _loaded("aiohttp", "ClientConnectorError", "ConnectionTimeoutError")
    return of_aiohttp + _loaded("botocore.exceptions", "ConnectionError")


def _loaded(module: str, *names: str) -> tuple[type[Exception], ...]:
    # A client that was not imported cannot have raised anything, so it is not imported here.
    imported = sys.modules.get(module)
    return tuple(getattr(imported, name) for name in names) if imported else ()

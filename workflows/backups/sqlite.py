"""sqlite: copies of a database and their way back, by SQLite itself.

A copy of the file could hold half of a change.

Promises  a database is replaced in one transaction, which a kill takes back; whoever has it open
          sees the new one.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from vitlens_core.errors import StorageError, VitlensError

_JOURNALS = ("-wal", "-shm", "-journal")  # beside a database
_BUSY_S = 10.0  # how long a database is waited for that others write to
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_STOP = "stop MLflow and Dagster (`vitlens ui`), and call this again"
_OF_STORAGE = {
    sqlite3.SQLITE_FULL: "free some space",
    sqlite3.SQLITE_READONLY: "let this user write it",
    sqlite3.SQLITE_CANTOPEN: "let this user read and write it and its folder",
    sqlite3.SQLITE_PERM: "let this user read and write it",
    sqlite3.SQLITE_IOERR: "check the disk",
}


def dump(path: Path, into: Path) -> None:
    """Write a database to a new file, and check it.

    Raises:
        StorageError: it cannot be read, or the new file cannot be written.
        VitlensError: it is damaged, or locked.
    """
    failed = f"{path} cannot be copied"
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(into)) as target:
            _transfer(source, target)
            [state] = target.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise _named(failed, error) from error
    if state != "ok":
        raise VitlensError(f"{failed}: {state}")


def ready(path: Path) -> bool:
    """Return whether a file is a database; what is missing or damaged is none.

    Raises:
        StorageError: it cannot be opened or written.
        VitlensError: others are writing to it.
    """
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path, _BUSY_S, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        raise _named(f"{path} cannot be replaced", error) from error
    except sqlite3.DatabaseError:
        return False
    return True


def replace(path: Path, dumped: Path) -> None:
    """Put a dump in the place of what a database holds; errors as `ready`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not ready(path):
        for ending in ("", *_JOURNALS):
            Path(f"{path}{ending}").unlink(missing_ok=True)
    where = f"{dumped.absolute().as_uri()}?mode=ro&immutable=1"  # it may lie where nobody writes
    try:
        with (
            closing(sqlite3.connect(where, uri=True)) as source,
            closing(sqlite3.connect(path)) as target,
        ):
            _transfer(source, target)
    except sqlite3.Error as error:
        raise _named(f"{path} cannot be replaced", error) from error


def _transfer(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    until = time.monotonic() + _BUSY_S

    def look(status: int, _left: int, _all: int) -> None:
        if status in _BUSY and time.monotonic() > until:  # else it would wait for ever
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = status
            raise error

    source.backup(target, progress=look)


def _named(failed: str, error: sqlite3.Error) -> VitlensError:
    """Return our error for one of SQLite, with what is to be done."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says more of the same kind
    if code in _OF_STORAGE:
        return StorageError(f"{failed}: {error}; {_OF_STORAGE[code]}")
    return VitlensError(f"{failed}: {error}" + (f"; {_STOP}" if code in _BUSY else ""))

"""own_store: the registry that lies in a home: `mlflow.db` and `mlartifacts/`.

MLflow writes whole paths into its tables. A home can be moved or copied, so the tables are
compared with the place where they lie whenever they are opened, and corrected.

Promises  tables are made once, also if several processes open a new home at the same moment;
          a home that was copied never reads or writes the original's files.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import TransientError

if TYPE_CHECKING:
    from filelock import BaseFileLock

FILES = "mlartifacts"
_WAIT_S = 120.0  # for another process that makes the tables, which takes seconds
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
# Every column of MLflow's tables that names a place of the home.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def database(home: Path) -> Path:
    """Return the file with the tables."""
    return home.absolute() / "mlflow.db"


def tracking_uri(home: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or else the sqlite database of `home`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _address(home)


def is_own(home: Path) -> bool:
    """Whether the registry is the home's own, not a server's."""
    asked = os.environ.get("MLFLOW_TRACKING_URI")
    return not asked or asked == _address(home)


def exists(home: Path) -> bool:
    """Whether the home's own registry was made."""
    return database(home).exists()


def files_uri(home: Path) -> str:
    """Return the address of the files of the home's runs and models."""
    return (home.absolute() / FILES).as_uri()


def place(home: Path, uri: str) -> Path:
    """Return where a file of the home's registry lies now; `uri` may name a former place.

    Raises:
        InputError: the address leads out of the registry's files.
    """
    _, _, inside = uri.rpartition(f"/{FILES}/")
    return resolve_inside(home.absolute() / FILES, inside)


@contextmanager
def opening(home: Path) -> Generator[None]:
    """Let one process at a time make the tables; then correct the places they name.

    A home that cannot be written, such as one on a read-only mount, is opened as it is.

    Raises:
        TransientError: another process has been making the tables for too long.
    """
    lock = _locked(home)
    if lock is None:
        yield
        return
    try:
        yield
        correct_places(home)
    finally:
        lock.release()


def _locked(home: Path) -> BaseFileLock | None:
    """Take the lock of the tables; None if a finished registry lies on a read-only disk."""
    from filelock import FileLock, Timeout

    lock = FileLock(home / "mlflow.lock")
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_WAIT_S)
    except Timeout as error:
        raise TransientError(
            f"another process has held {lock.lock_file} for {_WAIT_S:.0f} s while it opens the "
            "registry; wait for it, or end it"
        ) from error
    except OSError as error:
        if error.errno in _READ_ONLY and exists(home):
            return None
        raise
    return lock


def correct_places(home: Path) -> int:
    """Replace the places of a home that was moved or copied; return how many cells changed.

    All tables are changed in one transaction, or none is.
    """
    present, changed = files_uri(home), 0
    with closing(sqlite3.connect(database(home), timeout=_WAIT_S)) as tables, tables:
        for former in _former_places(tables, present):
            for table, column in _PLACES:
                # `substr`, since LIKE takes % and _ of a path as wildcards.
                changed += tables.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE substr({column}, 1, ?) = ?",
                    (present, len(former) + 1, len(former), former),
                ).rowcount
    return changed


def _former_places(tables: sqlite3.Connection, present: str) -> list[str]:
    """Return the addresses of `mlartifacts` that experiments name and where the home is not."""
    rows = tables.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    places = {str(row[0]) for row in rows if row[0]}
    return sorted(p for p in places if p.endswith(f"/{FILES}") and p != present)


def _address(home: Path) -> str:
    return f"sqlite:///{database(home)}"

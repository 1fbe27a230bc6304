"""guards: one backup or restore at a time in a folder, and files for this user only."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vitlens_core.errors import VitlensError

_LOCK = ".lock"


@contextmanager
def alone(into: Path, *, only_known: bool = False) -> Generator[None]:
    """Let one backup at a time be made in a folder, and none be removed while one is restored.

    Args:
        only_known: in a folder where none is made, or that is read-only, nothing is locked.
    """
    path = into / _LOCK
    if only_known and not (path.exists() and os.access(path, os.W_OK)):
        yield
        return
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise VitlensError(
            f"another backup or restore is at work in {into}: wait for its end"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def private() -> Generator[None]:
    """Let what is written be this user's alone: databases hold accounts, keys sign gates."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)

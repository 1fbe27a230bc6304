"""locks: one process of a home at a time makes an artifact or registers a lens.

Writes    `<home>/locks/<name>.lock`, and beside it the process that holds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def alone(home: Path, name: str, tell: Callable[[str], None]) -> Generator[None]:
    """Hold a lock of a home while the block lasts; wait for it if another process holds it.

    A process that is killed leaves none: the system releases it.

    Args:
        tell: is told which process is waited for.
    """
    from filelock import FileLock, Timeout  # late: not every import of a store needs it

    folder = home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / f"{name}.lock"), folder / f"{name}.pid"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with suppress(OSError):  # it may end at this moment
            tell(f"{name}: waiting for process {holder.read_text()}, which works on it in {home}")
        lock.acquire()
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()

"""scratch: folders for temporary files, of this user alone, that no kill leaves behind for long.

Writes    `vitlens.<kind>.<random>` in the folder for temporary files.
Promises  a folder goes with its owner. Where the owner was killed, the next process that needs a
          folder deletes it. The owner holds a lock on its folder, which the kernel releases when
          the owner ends, in whatever way; a folder whose lock is held is never deleted, nor is one
          of another user or one that is no folder of ours.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import weakref
from functools import cache
from pathlib import Path
from typing import Self

_NAME = re.compile(r"vitlens\.[a-z]+\.\w{8}")


class Scratch:
    """A folder that exists until `cleanup`, the end of the `with`, or the end of this process.

    Args:
        kind: what is kept there, in a word; part of the folder's name.
        root: where the folder is made; by default the folder for temporary files.
    """

    def __init__(self, kind: str, root: str | None = None) -> None:
        root = root or tempfile.gettempdir()
        _sweep_once(root)
        lock = None
        while lock is None:  # another process may sweep it before it is locked
            self.path = Path(tempfile.mkdtemp(prefix=f"vitlens.{kind}.", dir=root))
            lock = _take(self.path)
        self._end = weakref.finalize(self, _end, self.path, lock, os.getpid())

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exc_info: object) -> None:
        self.cleanup()

    def cleanup(self) -> None:
        """Delete the folder and what lies in it."""
        self._end()

    @classmethod
    def kept(cls, kind: str, root: str | None = None) -> Self:
        """Make a folder that lasts as long as this process, also if nobody refers to it."""
        made = cls(kind, root)
        _KEPT.append(made)
        return made


_KEPT: list[Scratch] = []


def sweep(root: str | Path) -> list[Path]:
    """Delete the folders below `root` whose owners have ended, and return them."""
    ours = [
        Path(entry.path)
        for entry in os.scandir(root)
        if _NAME.fullmatch(entry.name) and _is_ours(entry)
    ]
    return [path for path in ours if _swept(path)]


@cache
def _sweep_once(root: str) -> None:
    sweep(root)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    try:
        is_folder = entry.is_dir(follow_symlinks=False)
        return is_folder and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
    except FileNotFoundError:  # its owner ended meanwhile
        return False


def _swept(path: Path) -> bool:
    lock = _take(path, or_without=False)
    if lock is None:
        return False
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)
    return not path.exists()


def _take(path: Path, *, or_without: bool = True) -> int | None:
    """Lock a folder, and return what holds the lock; None if it is locked or gone.

    Args:
        or_without: on a file system without locks, return a handle that holds none; nobody can
            lock the folder then, so nobody sweeps it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.lstat(path)):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        if or_without:
            return handle
    os.close(handle)
    return None


def _end(path: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # a forked child inherits the call
        shutil.rmtree(path, ignore_errors=True)
    os.close(lock)

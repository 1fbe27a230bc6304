"""requests: asks a store for many things side by side: an object store answers after some 30 ms."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from upath import UPath

Item = TypeVar("Item")
Made = TypeVar("Made")
AT_A_TIME = 32
_AHEAD = 2 * AT_A_TIME  # items in memory at a time


def side_by_side(call: Callable[[Item], Made], items: Iterable[Item]) -> Generator[Made]:
    """Yield what a call returns for each item, in order; the calls are made in threads.

    Items are drawn by the caller's thread, some ahead of what it has taken, never all of them. An
    error is raised in its item's place; the calls that have begun are awaited.
    """
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="requests") as threads:
        begun: deque[Future[Made]] = deque()
        for item in items:
            begun.append(threads.submit(call, item))
            if len(begun) == _AHEAD:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def remove(paths: Iterable[UPath]) -> None:
    """Delete files; one that another process deletes meanwhile is no error."""
    for _ in side_by_side(_removed, paths):
        pass


def _removed(path: UPath) -> None:
    with suppress(FileNotFoundError):
        if isinstance(path, Path):
            path.unlink()
        else:  # `unlink` asks first whether it is there
            path.fs.rm_file(path.path)

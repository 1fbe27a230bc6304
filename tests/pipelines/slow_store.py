"""An object store in memory that answers late and counts what it is asked, by kind."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class SlowStore(MemoryFileSystem):
    """Requests: `look` at one file, `list` a folder, `get`, `put`, `remove`."""

    store: dict[str, Any] = {}  # noqa: RUF012  as fsspec has it
    pseudo_dirs = [""]  # noqa: RUF012
    answer_s = 0.0
    asked: ClassVar[Counter[str]] = Counter()
    most_at_a_time: ClassVar[Counter[str]] = Counter()
    _present: ClassVar[Counter[str]] = Counter()
    _lock = threading.Lock()
    _inside = threading.local()  # one request's own calls of the others

    @contextmanager
    def _request(self, kind: str) -> Generator[None]:
        if getattr(SlowStore._inside, "any", False):
            yield
            return
        SlowStore._inside.any = True
        with SlowStore._lock:
            self.asked[kind] += 1
            self._present[kind] += 1
            self.most_at_a_time[kind] = max(self.most_at_a_time[kind], self._present[kind])
        try:
            time.sleep(SlowStore.answer_s)
            yield
        finally:
            with SlowStore._lock:
                self._present[kind] -= 1
            SlowStore._inside.any = False

    def info(self, path: str, **options: Any) -> Any:
        with self._request("look"):
            return super().info(path, **options)

    def exists(self, path: str, **options: Any) -> bool:
        with self._request("look"):
            return super().exists(path, **options)

    def isdir(self, path: str) -> bool:
        with self._request("look"):
            return super().isdir(path)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        with self._request("list"):
            return super().ls(path, detail=detail, **options)

    def find(self, path: str, *args: Any, **options: Any) -> Any:
        with self._request("list"):
            return super().find(path, *args, **options)

    def put_file(self, *args: Any, **options: Any) -> None:
        with self._request("put"):
            super().put_file(*args, **options)

    def rm_file(self, path: str) -> None:
        with self._request("remove"):
            super().rm_file(path)

    def rm(self, path: Any, *args: Any, **options: Any) -> None:
        with self._request("remove"):
            super().rm(path, *args, **options)

    def cat_file(self, path: str, *args: Any, **options: Any) -> bytes:
        with self._request("get"):
            return super().cat_file(path, *args, **options)

    def _open(self, path: str, mode: str = "rb", *args: Any, **options: Any) -> Any:
        with self._request("get" if mode == "rb" else "put"):
            return super()._open(path, mode, *args, **options)


@contextmanager
def registered(answer_s: float = 0.0) -> Generator[Callable[[], Counter[str]]]:
    """Stand in for fsspec's own `memory`, whose paths UPath knows.

    Yields a function that returns what was asked since it was called last.
    """
    fsspec.register_implementation("memory", SlowStore, clobber=True)
    SlowStore.answer_s = answer_s
    SlowStore.asked.clear()
    SlowStore.most_at_a_time.clear()

    def asked() -> Counter[str]:
        found = Counter(SlowStore.asked)
        SlowStore.asked.clear()
        return found

    try:
        yield asked
    finally:
        fsspec.register_implementation("memory", MemoryFileSystem, clobber=True)
        SlowStore.store.clear()
        SlowStore.pseudo_dirs[:] = [""]

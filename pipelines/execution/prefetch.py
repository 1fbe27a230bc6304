"""prefetch: makes the next item in a thread while the present one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def prefetch(items: Iterator[T]) -> Generator[T]:
    """Yield the same items, each made one ahead; an error is raised in the place of its item.

    A single thread makes them in order, so `items` need not be thread-safe. Closing the generator
    waits for the item that is being made.
    """

    def make() -> T:
        return next(items, _END)

    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as maker:
        coming = maker.submit(make)
        while (item := coming.result()) is not _END:
            coming = maker.submit(make)
            yield item

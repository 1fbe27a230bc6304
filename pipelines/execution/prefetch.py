"""prefetch: makes the next items in threads while the present one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")
_END: Any = object()


def prefetch(
    items: Iterator[T], make: Callable[[T], U], *, threads: int = 1, ahead: int = 1
) -> Generator[U]:
    """Yield what is made of each item, in the order of the items; errors come in their place.

    A single thread draws the items in order, so `items` need not be thread-safe; `make` must be,
    if there are several threads. Closing the generator waits for what is being made.

    Args:
        threads: how many items are made at a time.
        ahead: how many items are made, or being made, before they are asked for; at least as many
            as threads, else some have nothing to do.
    """
    with (
        ThreadPoolExecutor(1, thread_name_prefix="drawn") as drawer,
        ThreadPoolExecutor(threads, thread_name_prefix="prefetch") as makers,
    ):

        def draw() -> T:
            return next(items, _END)

        def made(drawn: Future[T]) -> U:
            item = drawn.result()
            return _END if item is _END else make(item)

        def start() -> Future[U]:
            return makers.submit(made, drawer.submit(draw))

        coming = deque(start() for _ in range(ahead))
        try:
            while (item := coming.popleft().result()) is not _END:
                coming.append(start())
                yield item
        finally:
            for pool in (drawer, makers):
                pool.shutdown(wait=False, cancel_futures=True)

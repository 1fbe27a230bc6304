"""Items made one ahead: the same, in order, with their errors, and no more of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from pipelines.execution.prefetch import prefetch


def test_items_come_as_they_are() -> None:
    assert list(prefetch(iter([None, 1, 2]))) == [None, 1, 2]
    assert list(prefetch(iter([]))) == []


def test_the_next_is_made_while_one_is_used() -> None:
    made = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in range(3):
            yield number
            made.release()  # the next one is asked for

    with closing(prefetch(items())) as coming:
        assert next(coming) == 0
        assert made.acquire(timeout=10)
        assert not made.acquire(timeout=0.1)  # one, not all


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    coming = prefetch(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="the second"):
        next(coming)


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    coming = prefetch(iter(range(9)))
    next(coming)
    coming.close()
    assert threading.active_count() == before

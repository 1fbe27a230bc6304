"""Items made ahead: the same, in order, with their errors, on any number of threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from pipelines.execution.prefetch import prefetch

SIZES = [(1, 1), (1, 4), (3, 3), (4, 2), (4, 7)]  # threads, ahead


def same(item: int) -> int:
    return item


@pytest.mark.parametrize(("threads", "ahead"), SIZES)
@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_items_come_in_order_whoever_is_faster(threads: int, ahead: int, count: int) -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.002 * (item % 3 == 0))
        return item * item

    coming = prefetch(iter(range(count)), slow_first, threads=threads, ahead=ahead)
    assert list(coming) == [item * item for item in range(count)]


def test_items_may_be_none() -> None:
    assert list(prefetch(iter([None, 1, 2]), lambda item: item)) == [None, 1, 2]


@pytest.mark.parametrize(("threads", "ahead"), SIZES)
def test_as_many_are_drawn_as_asked_for_and_no_more(threads: int, ahead: int) -> None:
    drawn = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in range(20):
            drawn.release()
            yield number

    with closing(prefetch(items(), same, threads=threads, ahead=ahead)) as coming:
        assert next(coming) == 0
        for _ in range(1 + ahead):
            assert drawn.acquire(timeout=10)
        assert not drawn.acquire(timeout=0.05)


def test_several_are_made_at_a_time() -> None:
    together = threading.Barrier(3, timeout=10)

    def make(item: int) -> int:
        together.wait()  # passes only if three make theirs at once
        return item

    assert list(prefetch(iter(range(6)), make, threads=3, ahead=3)) == list(range(6))


@pytest.mark.parametrize(("threads", "ahead"), SIZES)
@pytest.mark.parametrize("drawing", [True, False])
def test_an_error_comes_in_its_place(threads: int, ahead: int, drawing: bool) -> None:
    def items() -> Iterator[int]:
        for number in range(5):
            if drawing and number == 2:
                raise ValueError("the third")
            yield number

    def make(item: int) -> int:
        if item == 2:
            raise ValueError("the third")
        return item

    coming = prefetch(items(), make, threads=threads, ahead=ahead)
    assert [next(coming), next(coming)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(coming)


@pytest.mark.parametrize(("threads", "ahead"), SIZES)
def test_closing_ends_the_threads(threads: int, ahead: int) -> None:
    before = threading.active_count()
    coming = prefetch(iter(range(99)), same, threads=threads, ahead=ahead)
    next(coming)
    coming.close()
    assert threading.active_count() == before

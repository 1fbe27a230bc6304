"""Many requests of a store: side by side, in order, and never all in memory."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from pipelines.store.artifact_store import PLAN, Store
from pipelines.store.files import names_in, write_atomic
from pipelines.store.requests import AT_A_TIME, remove, side_by_side
from tests.pipelines.slow_store import SlowStore, registered


@given(st.integers(0, 200))
@settings(deadline=None, max_examples=20)
def test_results_come_in_order_whatever_their_number(count: int) -> None:
    assert list(side_by_side(str, range(count))) == [str(number) for number in range(count)]


def test_calls_are_made_at_the_same_time() -> None:
    together = threading.Barrier(AT_A_TIME, timeout=20)
    assert len(list(side_by_side(lambda _: together.wait(), range(AT_A_TIME)))) == AT_A_TIME


def test_items_are_drawn_a_little_ahead_and_not_all() -> None:
    items = iter(range(10_000))
    results = side_by_side(str, items)
    for _ in range(500):
        next(results)
    results.close()
    assert 500 < next(items) <= 500 + 2 * AT_A_TIME


def test_an_error_is_raised_in_its_place() -> None:
    results = side_by_side(lambda number: 1 // (3 - number), range(100))
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("root", ["memory:///removed", None])
def test_what_is_gone_already_is_no_error(root: str | None, tmp_path: Path) -> None:
    with registered():
        folder = UPath(root or tmp_path)
        write_atomic(folder / "a", b"")
        write_atomic(folder / "kept", b"")
        remove(folder / name for name in ("a", "b"))
        assert names_in(folder) == {"kept"}


@pytest.mark.parametrize("shards", [3, 40])
def test_a_commit_lists_once_and_removes_side_by_side(shards: int) -> None:
    """Only a removal is asked for each plan; each alone would wait for an answer."""
    with registered(answer_s=0.01) as asked:
        build = Store(UPath("memory:///store")).begin("objects", 1, {}, {})
        for number in range(shards):
            (build.folder / f"train-{number:05d}{PLAN}").write_bytes(b"{}\n")
        asked()
        build.commit([], {})
        found = asked()
        assert found["remove"] == shards
        assert found["list"] == 1
        assert found["look"] + found["get"] <= 2  # whether the folder is there
        assert SlowStore.most_at_a_time["remove"] > 1
        assert names_in(build.folder) == {"manifest.json"}

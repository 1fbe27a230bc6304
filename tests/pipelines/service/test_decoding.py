"""Whatever a file does to the process that reads it, the next one is read."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipelines.service.config import Limits
from pipelines.service.decoding import Decoders
from vitlens_core.api.encoders import Preparation
from vitlens_core.errors import ConfigError, InputError


def doubled(raw: np.ndarray) -> np.ndarray:
    return np.asarray(raw, np.float32) * 2


def never(_: np.ndarray) -> np.ndarray:
    time.sleep(600)
    raise AssertionError


def crash(_: np.ndarray) -> np.ndarray:
    os.abort()


def hoard(_: np.ndarray) -> np.ndarray:
    return np.ones(2**30)  # 8 GB


def fail(_: np.ndarray) -> np.ndarray:
    raise KeyError("unforeseen")


def misuse(_: np.ndarray) -> np.ndarray:
    raise ConfigError("an option it lacks")


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    decoders = Decoders(1, Limits(decode_s=3, decode_mb=512))
    decoders.wait()
    yield decoders
    decoders.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(2, 3))
    return tmp_path / "x.npy"


def prepare(decoders: Decoders, path: Path, store: object, **options: float) -> np.ndarray:
    preparation = Preparation("point_cloud", store)  # ty: ignore[invalid-argument-type]
    return asyncio.run(decoders.prepare(preparation, path, options))


def test_a_good_file_comes_back_prepared(decoders: Decoders, path: Path) -> None:
    found = prepare(decoders, path, doubled)
    np.testing.assert_array_equal(found, np.arange(6.0, dtype=np.float32).reshape(2, 3) * 2)


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        (never, "took longer than 3 s to read"),
        (crash, "crashed the process"),
        (hoard, "needs more than 512 MB"),
        (fail, "cannot be read: KeyError: 'unforeseen'"),
        (misuse, "an option it lacks"),
    ],
)
def test_a_bad_file_is_refused_and_the_next_is_read(
    decoders: Decoders, path: Path, store: object, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        prepare(decoders, path, store)
    assert prepare(decoders, path, doubled).shape == (2, 3)
    assert len(decoders.pids) == 1


def test_only_a_child_that_was_lost_is_replaced(decoders: Decoders, path: Path) -> None:
    before = decoders.pids
    with pytest.raises(InputError):
        prepare(decoders, path, fail)
    assert decoders.pids == before
    with pytest.raises(InputError):
        prepare(decoders, path, crash)
    prepare(decoders, path, doubled)
    assert decoders.pids != before


def test_the_event_loop_goes_on_meanwhile(decoders: Decoders, path: Path) -> None:
    async def ticks() -> int:
        slow = asyncio.ensure_future(decoders.prepare(Preparation("point_cloud", never), path, {}))
        count = 0
        while not slow.done():
            await asyncio.sleep(0.05)
            count += 1
        with pytest.raises(InputError):
            await slow
        return count

    assert asyncio.run(ticks()) > 10


def test_closing_ends_the_children() -> None:
    decoders = Decoders(1, Limits())
    decoders.wait()
    (pid,) = decoders.pids
    decoders.close()
    assert not psutil.pid_exists(pid)

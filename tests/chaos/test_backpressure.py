"""A slow disk or a slow tower slows the build down; it does not fill the memory."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipelines.execution.bulk import build_shards
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardProcessor, ShardTask
from pipelines.store.artifacts import Artifact
from tests.chaos.slow_processors import (
    SAMPLE_BYTES,
    SAMPLES,
    Quick,
    SlowDisk,
    SlowTower,
    own_memory_mb,
)
from tests.pipelines.quiet import quiet_runtime

SHARDS = 4
SHARD_MB = SAMPLES * SAMPLE_BYTES / 1e6
# A few samples, with their copies on the way to a tar; a third of a shard. Queued, a whole shard.
WORKER_MB = DRIVER_MB = SHARD_MB / 3


class DriverWatch:
    """The most that this process's memory grows by while the block lasts, in MB."""

    def __enter__(self) -> DriverWatch:
        self._start = self._most = own_memory_mb()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self._most = max(self._most, own_memory_mb())

    @property
    def grown_mb(self) -> float:
        return self._most - self._start


def _build(runtime: Runtime, name: str, processor: Callable[[], ShardProcessor]) -> Artifact:
    tasks = [ShardTask(f"train-{number:05d}") for number in range(SHARDS)]
    return build_shards(runtime, runtime.store.begin(name, 1, {}, {}), tasks, processor)


def _grown_mb(log: Path) -> float:
    """The most that a worker's memory grew by from its first note on."""
    notes: dict[str, list[float]] = defaultdict(list)
    for line in log.read_text().splitlines():
        pid, memory_mb = line.split()
        notes[pid].append(float(memory_mb))
    assert str(os.getpid()) not in notes
    assert sum(map(len, notes.values())) == SHARDS * (SAMPLES + 1)
    return max(max(found) - found[0] for found in notes.values())


@pytest.mark.slow
@pytest.mark.parametrize("slow", [pytest.param("disk", marks=pytest.mark.nightly), "tower"])
def test_memory_does_not_grow_behind_what_is_slow(
    slow: str, tmp_path: Path, local_ray: None
) -> None:
    """That queued samples would be noticed is shown by a processor that holds a shard of them."""
    runtime = quiet_runtime(tmp_path, render_workers=2)
    processor: Callable[..., ShardProcessor] = SlowDisk
    if slow == "tower":
        processor = partial(SlowTower, source=_build(quiet_runtime(tmp_path), "source", Quick))
    hoarded, streamed = tmp_path / "hoarded.log", tmp_path / "streamed.log"
    _build(runtime, "hoarding", partial(processor, hoarded, True))
    with DriverWatch() as driver:
        made = _build(runtime, "streaming", partial(processor, streamed, False))
    assert made.manifest.counts["samples"] == SHARDS * SAMPLES
    assert _grown_mb(hoarded) > WORKER_MB > _grown_mb(streamed)
    assert driver.grown_mb < DRIVER_MB

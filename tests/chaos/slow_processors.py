"""Processors twenty times slower than what feeds them, which write down the memory they take."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from pipelines.execution.shard_tasks import ShardTask
from pipelines.store import files
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample

SAMPLES, SAMPLE_BYTES = 32, 1_000_000
SLOW_S = 0.02  # a sample is read or made in a twentieth of it


def own_memory_mb(pid: int | str = "self") -> float:
    """Proportional share of anonymous and shared memory; cached files are not its own."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return sum(int(fields[name].split()[0]) for name in ("Pss_Anon", "Pss_Shmem")) / 1000


class _Watched:
    """Writes down a worker's memory.

    hoard: hold all samples of a shard at once, which is what the tests must notice.
    """

    def __init__(self, log: Path, hoard: bool) -> None:
        self.log = log
        self.hoard = hoard

    def passed_on(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        self.note()
        for sample in list(samples) if self.hoard else samples:
            self.note()
            yield sample

    def note(self) -> None:
        with self.log.open("a") as log:
            log.write(f"{os.getpid()} {own_memory_mb()}\n")


class SlowTower(_Watched):
    """Reads large samples and takes its time over each."""

    def __init__(self, log: Path, hoard: bool, source: Artifact) -> None:
        super().__init__(log, hoard)
        self.source = source

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        for sample in self.passed_on(self._read(task.name)):
            time.sleep(SLOW_S)
            yield sample | {"bin": hashlib.sha256(sample["bin"]).digest()}

    def _read(self, shard: str) -> Iterator[Sample]:
        for sample in self.source.read(shard):
            yield sample | {"bin": bytes(sample["bin"])}


class SlowDisk(_Watched):
    """Makes large samples at once, which a slow disk takes its time over."""

    def __init__(self, log: Path, hoard: bool) -> None:
        super().__init__(log, hoard)
        write = files.HashedFile.write

        def slowly(self: files.HashedFile, data: bytes) -> int:
            time.sleep(SLOW_S * len(data) / SAMPLE_BYTES)
            return write(self, data)

        files.HashedFile.write = slowly  # of this worker, whose processor is its only one

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        yield from self.passed_on(made(task.name))


class Quick:
    """The same samples, unwatched: what a slow tower reads."""

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        yield from made(task.name)


def made(shard: str) -> Iterator[Sample]:
    for number in range(SAMPLES):
        key = f"{shard}-{number:03d}"
        yield {"__key__": key, "bin": random.Random(key).randbytes(SAMPLE_BYTES)}

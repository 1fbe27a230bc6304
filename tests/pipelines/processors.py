"""Processors of made-up samples, for jobs whose workers fail. Importable by Ray's workers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ray

from pipelines.execution.runtime import Resources, Runtime
from pipelines.execution.shard_tasks import ShardTask
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.shards import Sample
from vitlens_core.errors import BadSampleError, ConfigError, TransientError


@dataclass
class Echo:
    """A sample per item of a shard; writes down which shards it was asked for.

    An item may ask for trouble: `bad` is quarantined, `refuse` raises, `die` ends the process,
    `die once` does so the first time; `lose` is a network that fails, `lose once` the first time.
    """

    log: Path
    items: Mapping[str, Sequence[str]]

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        with self.log.open("a") as log:
            log.write(f"{task.name}\n")
        for item in self.items[task.name]:
            self._cause_trouble(item)
            if item == "bad":
                yield Quarantined(key=item, step="echo", reason="it asked for it")
            else:
                yield {"__key__": f"{task.name}-{item}", "txt": item.encode()}

    def _cause_trouble(self, item: str) -> None:
        mark = self.log.with_suffix(".died")
        if item == "lose" or (item == "lose once" and not mark.exists()):
            mark.touch()
            raise TransientError("the network of this worker fails")
        if item == "die" or (item == "die once" and not mark.exists()):
            mark.touch()
            os._exit(1)
        if item == "refuse" and not self.log.with_suffix(".mended").exists():
            raise ConfigError("echo.item: 'refuse' is not understood")


@dataclass
class Hoard:
    """Takes memory as a large object does, and lets it go."""

    mb: int

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        # Many arrays, and one that lies behind them: the heap's end cannot be cut off.
        arrays = [np.ones(2**17) for _ in range(self.mb)]
        self.kept = np.ones(2**10)
        yield {"__key__": task.name, "txt": str(len(arrays)).encode()}


@dataclass
class Closes:
    """A sample that says which process made it and when its processor was built."""

    log: Path

    def __post_init__(self) -> None:
        self.made = f"{os.getpid()} {time.monotonic_ns()}"

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        yield {"__key__": task.name, "txt": self.made.encode()}

    def close(self) -> None:
        with self.log.open("a") as log:
            log.write(f"{self.made}\n")


@dataclass
class TakesGpus:
    """A sample that says how many GPUs Ray gave to its worker."""

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        given = ray.get_runtime_context().get_accelerator_ids()["GPU"]
        yield {"__key__": task.name, "txt": str(len(given)).encode()}


def refuse_to_start() -> Echo:
    raise BadSampleError("no echo without a wall")


def refuse_with() -> Echo:
    raise ZeroDivisionError("a stranger's")


@dataclass
class Carrying:
    """Raises an error with an attribute that makes a file where it is unpickled."""

    path: str

    def __call__(self) -> Carrying:
        return self

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        raise carrying(self.path)


class CarryingResources(Resources):
    """Of a training whose workers fail so."""

    path: str

    def threads(self, workers_here: int = 1) -> int:
        raise carrying(self.path)


def run(runtime: Runtime, path: str) -> Artifact:
    """A job that fails so, unless it was done before."""
    if runtime.store.begin("carrying", 1, {}, {}).existing is None:
        raise carrying(path)
    raise AssertionError("it is never made")


def carrying(path: str) -> BadSampleError:
    """Return an error that makes a file where it is unpickled."""
    error = BadSampleError("it carries something")
    error.found = Touch(path)  # ty: ignore[missing-attribute]
    return error


class Touch:
    """Makes a file where it is unpickled, as an object of a stranger's file could."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.open, (self.path, os.O_CREAT | os.O_WRONLY)

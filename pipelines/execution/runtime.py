"""runtime: where a job runs, apart from what it computes: store, Ray resources, progress.

Nothing here enters a fingerprint: a laptop and a cluster make the same artifact.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipelines.execution.logger import TrainingLogger
from pipelines.store.artifact_store import Store
from pipelines.store.home import Home
from vitlens_core.errors import ConfigError

_MOST_READERS = 8


@dataclass(frozen=True)
class Pool:
    """Workers of one kind.

    Attributes:
        name: `render`, `encode` or `train`.
        cpus, gpus: what each of them takes.
    """

    name: str
    workers: int
    # A pool as large as the CPU count would starve Ray Data's own tasks and deadlock.
    cpus: float = 0.5
    gpus: float = 0.0

    @property
    def all_gpus(self) -> float:
        """GPUs of all of them together."""
        return self.workers * self.gpus


class Resources(BaseModel):
    """How many workers do the work, and with what. Never part of a fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="CPUs of a local Ray"
    )
    object_store_mb: int = Field(512, ge=80, description="shared memory of a local Ray [MB]")
    render_workers: int = Field(
        2, ge=0, description="workers that fetch, render or pack, on CPUs; 0: in this process"
    )
    encode_workers: int = Field(
        2, ge=0, description="workers that hold towers and encode; 0: in this process"
    )
    encode_gpus: float = Field(
        0,
        ge=0,
        description="GPUs of one encoding worker, and of evaluation and benchmarks; such as 0.5 "
        "for two that share one",
    )
    train_workers: int = Field(1, ge=0, description="Ray Train workers; 0: train in this process")
    train_gpus: Literal[0, 1] = Field(
        0, description="whole GPUs of one training worker: two of them cannot share one"
    )
    min_train_workers: int | None = Field(
        None, ge=1, description="fewest workers to go on with when nodes are lost; unset: wait"
    )
    sharding: Literal["ddp", "fsdp"] = Field(
        "ddp", description="whether a training worker has a replica of the tower or a shard of it"
    )
    activation_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass instead of storing them"
    )
    compile: bool = Field(False, description="torch.compile the tower; needs a C++ compiler")
    threads_per_train_worker: int | None = Field(
        None, ge=1, description="torch threads; unset: the machine's cores divided by its workers"
    )
    reading_threads: int | None = Field(
        None,
        ge=1,
        description="threads of a worker that read batches or decode pictures ahead; unset: 1 on "
        "CPUs, which are busy, and 8 beside a GPU if there are as many cores",
    )
    verify_reads: bool = Field(
        False, description="compare every sample with its checksum when it is read"
    )

    @property
    def device(self) -> Literal["cuda", "cpu"]:
        """The device of an encoding worker's towers."""
        return "cuda" if self.encode_gpus else "cpu"

    @property
    def render_pool(self) -> Pool:
        """The workers of a bulk step that needs CPUs only."""
        return Pool("render", self.render_workers)

    @property
    def encode_pool(self) -> Pool:
        """The workers of a bulk step whose workers hold towers."""
        return Pool("encode", self.encode_workers, gpus=self.encode_gpus)

    @property
    def train_pool(self) -> Pool:
        """The fewest workers that a training goes on with."""
        fewest = self.range_of_train_workers
        count = fewest if isinstance(fewest, int) else fewest[0]
        return Pool("train", count, cpus=1.0, gpus=self.train_gpus)

    def require(self, available: Mapping[str, float], where: str) -> None:
        """Compare what the workers take with what Ray has or may add.

        Steps run one after the other, so each pool is compared by itself.

        Args:
            available: `CPU` and `GPU`.
            where: whose resources these are, for the message.

        Raises:
            ConfigError: a pool takes more; Ray would wait for it without an end.
        """
        lacking = [
            f"resources.{pool.name}_workers={pool.workers} take {taken:g} {kind}s "
            f"({each:g} each), {where} has {available.get(kind, 0):g}"
            for pool in (self.render_pool, self.encode_pool, self.train_pool)
            for kind, each in (("CPU", pool.cpus), ("GPU", pool.gpus))
            if (taken := each * pool.workers) > available.get(kind, 0)
        ]
        if lacking:
            raise ConfigError(
                "\n".join(lacking) + "\nlower the number of workers, or set encode_gpus and "
                "train_gpus to 0 to work on CPUs"
            )

    def readers(self, *, on_gpu: bool) -> int:
        """Return the threads of a worker that read or decode ahead."""
        most = _MOST_READERS if on_gpu else 1
        return self.reading_threads or min(most, os.cpu_count() or 1)

    def threads(self, workers_here: int = 1) -> int:
        """Return the torch threads of one of a machine's training workers."""
        return self.threads_per_train_worker or max(1, (os.cpu_count() or 1) // workers_here)

    @property
    def range_of_train_workers(self) -> int | tuple[int, int]:
        """The number of training workers, or the fewest and the most."""
        if self.min_train_workers is None or self.min_train_workers >= self.train_workers:
            return self.train_workers
        return self.min_train_workers, self.train_workers


@dataclass(frozen=True)
class Runtime:
    """What every step receives beside its config and inputs."""

    store: Store
    resources: Resources = field(default_factory=Resources)
    console: Console = field(default_factory=lambda: Console(stderr=True))
    home: Home = field(default_factory=Home.from_environment)
    loggers: tuple[TrainingLogger, ...] = ()

    def say(self, message: str) -> None:
        """Show a line on the terminal."""
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, step: str, total: int, unit: str) -> Generator[ProgressBar]:
        """Show a progress bar for a long step; without a terminal, one line at its end."""
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]} {task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        # A piece of a small data set may hold nothing.
        with Progress(*columns, console=self.console, disable=total == 0) as progress:
            yield ProgressBar(progress, progress.add_task(step, total=total, unit=unit, note=""))


@dataclass(frozen=True)
class ProgressBar:
    """One bar; `note` is shown after the count (a loss, for example)."""

    _progress: Progress
    _task: TaskID

    def advance(self, amount: int = 1) -> None:
        self._progress.advance(self._task, amount)

    def at(self, completed: int, note: str = "") -> None:
        self._progress.update(self._task, completed=completed, note=note)

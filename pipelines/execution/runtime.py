"""runtime: where a job runs, apart from what it computes: store, Ray resources, progress.

Nothing here enters a fingerprint: a laptop and a cluster make the same artifact.
"""

from __future__ import annotations

import os
from collections.abc import Generator
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
from pipelines.store.artifacts import Store
from pipelines.store.home import Home


class Resources(BaseModel):
    """How many workers do the work, and with what. Never part of a fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="CPUs of a local Ray"
    )
    object_store_mb: int = Field(512, ge=80, description="shared memory of a local Ray [MB]")
    data_workers: int = Field(
        2, ge=0, description="actors that render, pack or encode; 0: work in this process"
    )
    train_workers: int = Field(1, ge=0, description="Ray Train workers; 0: train in this process")
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
    gpus_per_worker: float = Field(0, ge=0, description="GPUs of an encoding or training worker")
    threads_per_train_worker: int | None = Field(
        None, ge=1, description="torch threads; unset: the machine's cores divided by its workers"
    )
    verify_reads: bool = Field(
        False, description="compare every sample with its checksum when it is read"
    )

    @property
    def device(self) -> Literal["cuda", "cpu"]:
        """The device of an encoding worker's towers."""
        return "cuda" if self.gpus_per_worker else "cpu"

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

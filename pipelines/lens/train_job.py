"""train_job: what a training is told, what it draws, and what it asks of its worker."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from upath import UPath

from pipelines.execution.logger import Point
from pipelines.execution.runtime import Resources
from pipelines.lens.checkpoints import Keeper
from pipelines.lens.settings import TrainConfig
from pipelines.store.artifacts import Artifact
from vitlens_core.models.tower_settings import TowerSettings


@dataclass(frozen=True)
class TrainJob:
    """What every worker is sent; small, and the same for all."""

    tower: TowerSettings
    train: TrainConfig
    targets: Artifact
    foundation: Artifact
    resources: Resources = field(default_factory=Resources)
    neighbours: UPath | None = None  # the table of `neighbours`, if batches are drawn by it


@dataclass
class Curves:
    """Loss curves, for the report."""

    train: list[dict[str, float]] = field(default_factory=list)
    val: list[dict[str, float]] = field(default_factory=list)


class Worker(Keeper, Protocol):
    """One of the processes that train a lens together, as the loop sees it."""

    @property
    def rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...
    @property
    def device(self) -> torch.device: ...

    def report(self, points: Sequence[Point], /) -> None:
        """Report figures; only the first worker is asked to."""
        ...

    def latest(self) -> AbstractContextManager[Path | None]:
        """Open the folder of the last checkpoint with the files of all workers, if any."""
        ...

"""`python -m tests.chaos.small_training STORE FOUNDATION`: a small lens, on any Ray cluster."""

from __future__ import annotations

import io
import sys
from typing import Any

from rich.console import Console
from upath import UPath

from pipelines.execution.runtime import Resources, Runtime
from pipelines.lens import job as lens
from pipelines.lens import workers
from pipelines.lens.settings import TrainConfig
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from tests.pipelines import synthetic

STEPS = 60
TRAIN: dict[str, Any] = {"steps": STEPS, "batch_size": 6, "warmup_steps": 5, "learning_rate": 3e-3}
TRAIN |= {"validate_every": 20, "checkpoint_every": 10, "precision": "fp32"}


def train(store: Store, spec: str, **resources: int) -> Artifact:
    """A lens for an IMU, which has no batch norm: any number of workers trains the same one."""
    targets = synthetic.targets(store, {"train": (7, 5), "val": (5,)}, synthetic.moving)
    foundation = synthetic.foundation(store, spec)
    config, tower = TrainConfig.model_validate(TRAIN), synthetic.trained_tower("imu", trunk={})
    given = Resources.model_validate({"threads_per_train_worker": 1} | resources)
    runtime = Runtime(store, given, Console(file=io.StringIO()))
    return lens.run(runtime, config, tower, targets, foundation)


if __name__ == "__main__":
    workers.FAILURES = 0  # the first failure that counts makes Ray Train give up
    train(Store(UPath(sys.argv[1])), sys.argv[2], train_workers=2, min_train_workers=1)

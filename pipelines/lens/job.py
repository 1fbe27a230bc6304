"""job: trains a lens and stores what consumers load; `step` declares it."""

from __future__ import annotations

from pipelines.execution.runtime import Runtime
from pipelines.lens.settings import TrainConfig
from pipelines.lens.step import STEP
from pipelines.store.artifacts import Artifact
from vitlens_core.errors import ConfigError
from vitlens_core.models.tower_settings import TowerSettings


def run(
    runtime: Runtime,
    config: TrainConfig,
    tower: TowerSettings,
    targets: Artifact,
    foundation: Artifact,
) -> Artifact:
    """Train the lens of a tower, in this process or on the workers of Ray Train.

    Raises:
        ConfigError: sizes do not fit (batch and workers, tower and trunk), or there is nothing
            to train against.
        VitlensError: the loss is no longer finite.
    """
    workers = max(1, runtime.resources.train_workers)
    if config.batch_size % workers:
        raise ConfigError(
            f"lens.train.batch_size {config.batch_size} does not divide over {workers} workers"
        )
    inputs = {"targets": targets, "foundation": foundation}
    identity = {**tower.model_dump(), "train": config.model_dump()}
    build = STEP.begin(runtime, identity, inputs)
    if build.existing:
        return build.existing
    return STEP.make(runtime, build, config, tower, **inputs)

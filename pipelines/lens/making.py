"""making: trains a lens and stores what consumers load."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipelines.execution.logger import Point, Report, Training, report_to
from pipelines.execution.runtime import Runtime
from pipelines.foundation.info import read_info
from pipelines.foundation.opening import open_foundation
from pipelines.lens.curves import CURVES_FILE, TrainingCurves, validation_kind
from pipelines.lens.neighbours import table_of_workers
from pipelines.lens.settings import PROGRESS_FILE, TrainConfig
from pipelines.lens.step import STEP
from pipelines.lens.token_loss import check_tokens
from pipelines.lens.train_job import TrainJob
from pipelines.lens.workers import fit, remove
from pipelines.store.artifact_store import Build
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import encode_model
from pipelines.targets.step import TOKENS
from vitlens_core.model_files import LENS_FILE
from vitlens_core.models.tower import build_tower
from vitlens_core.models.tower_settings import TowerSettings


def make(
    runtime: Runtime,
    build: Build,
    config: TrainConfig,
    tower: TowerSettings,
    targets: Artifact,
    foundation: Artifact,
) -> Artifact:
    """Train the lens of a tower; errors as `job.run`."""
    info = read_info(foundation)
    kinds = config.weights(info.teachers)
    if not info.has_text:
        config.check_without_text(info.spec)
    # First in this process: Ray Train would start its workers four times on a mistake in the sizes.
    own = open_foundation(foundation).trunk
    built = build_tower(tower, own)
    if TOKENS in kinds:
        check_tokens(built, own)
    checkpoints = build.folder / "checkpoints"
    table = None
    if config.hard_negatives:
        # Beside the checkpoints: every worker reads it there, and a killed run finds it again.
        folder = build.folder / "neighbours"
        table = table_of_workers(runtime.resources, folder, targets, config.hard_negatives)
    job = TrainJob(tower, config, targets, foundation, runtime.resources, table)
    settings = {STEP.name: {"train": config.model_dump(mode="json")}}
    training = Training(tower.modality, build.fingerprint, config.steps, settings)
    with _reported(runtime, training) as report:
        last = fit(job, checkpoints, report)
    with last as folder:
        assert folder is not None, "the last step always has a checkpoint"
        lens = (folder / LENS_FILE).read_bytes()
        progress = json.loads(Path(folder, PROGRESS_FILE).read_text())
    validated = validation_kind(kinds) if progress["val"] else None
    curves = TrainingCurves(
        train=progress["train"], val=progress["val"], validated_against=validated
    )
    files = [
        write_atomic(build.folder / LENS_FILE, lens),
        write_atomic(build.folder / CURVES_FILE, encode_model(curves)),
    ]
    artifact = build.commit(files, counts={"steps": progress["step"]})
    remove(checkpoints)
    if table:
        remove(table.parent)
    return artifact


@contextmanager
def _reported(runtime: Runtime, training: Training) -> Generator[Report]:
    """Give the block a function that passes figures to a progress bar and the run's loggers."""
    with (
        runtime.progress(STEP.name, training.steps, "steps") as bar,
        report_to(runtime.loggers, training) as report_to_loggers,
    ):

        def report(points: Sequence[Point]) -> None:
            for point in points:
                if "train.loss" in point.figures:
                    bar.at(point.step, f"loss {point.figures['train.loss']:.3f}")
            report_to_loggers(points)

        yield report

"""lens: train, and keep what consumers load; see `step`."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipelines.execution.logger import Point, Report, Training, report_to
from pipelines.execution.runtime import Runtime
from pipelines.foundation.opening import has_teacher, open_foundation
from pipelines.lens.settings import PROGRESS_FILE
from pipelines.lens.step import STEP, LensConfig
from pipelines.lens.training import TrainJob
from pipelines.lens.workers import fit, remove
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import encode_json
from vitlens_core.errors import ConfigError
from vitlens_core.model_files import LENS_FILE


def run(runtime: Runtime, config: LensConfig, targets: Artifact, foundation: Artifact) -> Artifact:
    """Train the lens, in this process or on the workers of Ray Train.

    Raises:
        ConfigError: sizes that do not fit (batch over workers, tower and trunk), or nothing to
            train against.
        VitlensError: the loss stopped being finite.
    """
    workers = max(1, runtime.resources.train_workers)
    if config.train.batch_size % workers:
        raise ConfigError(
            f"lens.train.batch_size {config.train.batch_size} does not divide over "
            f"{workers} workers"
        )
    inputs = {"targets": targets, "foundation": foundation}
    build = STEP.begin(runtime, config, inputs)
    if build.existing:
        return build.existing
    config.train.weights(taught=has_teacher(foundation))
    # In this process first: sizes that do not fit are a mistake, which Ray Train would retry.
    config.tower().build(open_foundation(foundation).trunk)
    checkpoints = build.folder / "checkpoints"
    job = TrainJob(config.tower(), config.train, targets, foundation, runtime.resources)
    with _reported(runtime, config, build.fingerprint) as report:
        last = fit(job, checkpoints, report)
    with last as folder:
        assert folder is not None, "the last step is always kept"
        lens = (folder / LENS_FILE).read_bytes()
        progress = json.loads(Path(folder, PROGRESS_FILE).read_text())
    curves = encode_json({"train": progress["train"], "val": progress["val"]})
    files = [
        write_atomic(build.folder / LENS_FILE, lens),
        write_atomic(build.folder / "curves.json", curves),
    ]
    artifact = build.commit(files, counts={"steps": progress["step"]})
    remove(checkpoints)
    return artifact


@contextmanager
def _reported(runtime: Runtime, config: LensConfig, fingerprint: str) -> Generator[Report]:
    """What takes the figures of a training: a progress bar, and the loggers of the run."""
    steps = config.train.steps
    settings = {STEP.name: config.model_dump(mode="json")}
    training = Training(config.modality, fingerprint, steps, settings)
    with (
        runtime.progress(STEP.name, steps, "steps") as bar,
        report_to(runtime.loggers, training) as tell,
    ):

        def report(points: Sequence[Point]) -> None:
            for point in points:
                if "train.loss" in point.figures:
                    bar.at(point.step, f"loss {point.figures['train.loss']:.3f}")
            tell(points)

        yield report

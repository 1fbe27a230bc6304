"""lens: the trained tokenizer and lens of a modality.

Reads     targets and foundation.
Writes    `lens.safetensors` (trained tensors, the tower's settings, the foundation's
          digest) and `curves.json` (loss by step, validation).
Promises  resumes from the last checkpoint after a kill; checkpoints are removed at the end.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from pydantic import BaseModel, ConfigDict, Field
from upath import UPath

from pipelines.artifacts import Artifact, write_atomic
from pipelines.cluster import connect, original_error
from pipelines.foundation import open_foundation
from pipelines.runtime import ProgressBar, Resources, Runtime
from pipelines.shard_io import encode_json
from pipelines.train_config import STATE_FILE, TrainConfig
from vitlens_core.checkpoint import LENS_FILE
from vitlens_core.errors import ConfigError
from vitlens_core.models.tower import LensSettings, TowerSettings, TrunkSettings

STEP = "lens"
VERSION = 1
_CHECKPOINTS = "checkpoints"


class LensConfig(BaseModel):
    """The tower's shape and its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str = Field(description="set by the run")
    tokenizer: dict = Field(default_factory=dict, description="see vitlens_core/modalities")
    lens: LensSettings = LensSettings()
    trunk: TrunkSettings = TrunkSettings()
    train: TrainConfig = TrainConfig()

    def tower(self) -> TowerSettings:
        return TowerSettings(
            modality=self.modality, tokenizer=self.tokenizer, lens=self.lens, trunk=self.trunk
        )


def run(runtime: Runtime, config: LensConfig, targets: Artifact, foundation: Artifact) -> Artifact:
    """Train the lens with Ray Train.

    Raises:
        ConfigError: sizes that do not fit (batch over workers, tower and trunk).
        VitlensError: the loss stopped being finite.
    """
    workers = max(1, runtime.resources.train_workers)
    if config.train.batch_size % workers:
        raise ConfigError(
            f"lens.train.batch_size {config.train.batch_size} does not divide over "
            f"{workers} workers"
        )
    inputs = {"targets": targets, "foundation": foundation}
    build = runtime.store.begin(STEP, VERSION, config, inputs)
    if build.existing:
        return build.existing
    # In this process first: sizes that do not fit are a mistake, which Ray Train would retry.
    config.tower().build(open_foundation(foundation).trunk)
    connect(runtime.resources)
    with runtime.progress(STEP, config.train.steps, "steps") as bar, _shown(bar) as progress:
        job = {
            "tower": config.tower(),
            "train": config.train,
            "targets": targets,
            "foundation": foundation,
            "threads": runtime.resources.threads_per_train_worker,
            "progress": progress,
        }
        result = _fit(job, runtime.resources, build.folder)
    with result.checkpoint.as_directory() as folder:
        lens = Path(folder, LENS_FILE).read_bytes()
        state = torch.load(Path(folder, STATE_FILE), weights_only=True)
    curves = encode_json({"train": state["train"], "val": state["val"]})
    files = [
        write_atomic(build.folder / LENS_FILE, lens),
        write_atomic(build.folder / "curves.json", curves),
    ]
    artifact = build.commit(files, counts={"steps": state["step"]})
    _remove(build.folder / _CHECKPOINTS)
    return artifact


def _fit(job: dict[str, Any], resources: Resources, folder: UPath) -> Any:
    """Run the workers; a run of this name that was killed goes on at its last checkpoint."""
    # Late: Ray Train takes seconds to import, and settings are checked without it.
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.config import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.exceptions import TrainingFailedError

    from pipelines.training import TrainJob, train_worker

    on_gpu = resources.gpus_per_worker > 0
    per_worker = {"CPU": 1.0, "GPU": resources.gpus_per_worker} if on_gpu else {"CPU": 1.0}
    options: dict[str, Any] = {
        "train_loop_config": {"job": TrainJob(**job)},
        "scaling_config": ScalingConfig(
            num_workers=resources.train_workers, use_gpu=on_gpu, resources_per_worker=per_worker
        ),
        "run_config": RunConfig(
            name=_CHECKPOINTS,
            storage_path=str(folder.absolute() if isinstance(folder, Path) else folder),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            failure_config=FailureConfig(max_failures=3),
        ),
    }
    try:
        return TorchTrainer(train_worker, **options).fit()
    except TrainingFailedError as error:
        raise original_error(error) from error


@ray.remote(num_cpus=0)
class _Progress:
    """Where the first worker says how far it is, and the driver asks."""

    def __init__(self) -> None:
        self.latest = (0, float("nan"))

    def report(self, step: int, loss: float) -> None:
        self.latest = (step, loss)

    def read(self) -> tuple[int, float]:
        return self.latest


@contextmanager
def _shown(bar: ProgressBar) -> Generator[Any]:
    """An actor for the workers' progress, drawn on `bar` twice a second."""
    progress: Any = _Progress.remote()
    done = threading.Event()

    def draw() -> None:
        step, loss = ray.get(progress.read.remote())
        bar.at(step, f"loss {loss:.3f}")

    def keep_drawing() -> None:
        while not done.wait(0.5):
            draw()

    thread = threading.Thread(target=keep_drawing, daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        done.set()
        thread.join()
        draw()
        ray.kill(progress)


def _remove(folder: UPath) -> None:
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.fs.rm(folder.path, recursive=True)

"""lens: the trained tokenizer and lens of a modality.

Reads     targets and foundation.
Writes    `lens.safetensors` (trained tensors, the tower's settings, the foundation's
          digest) and `curves.json` (loss by step, validation).
Promises  resumes from the last checkpoint after a kill; checkpoints are removed at the end.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipelines.artifacts import Artifact
from pipelines.files import write_atomic
from pipelines.foundation import has_teacher, open_foundation
from pipelines.runtime import Runtime
from pipelines.shard_io import encode_json
from pipelines.train_config import PROGRESS_FILE, TrainConfig
from vitlens_core.errors import ConfigError
from vitlens_core.model_files import LENS_FILE
from vitlens_core.models.head import Head
from vitlens_core.models.tower import LensSettings, TowerSettings, TrunkSettings

STEP = "lens"
VERSION = 2


class LensConfig(BaseModel):
    """The tower's shape and its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str = Field(description="set by the run")
    tokenizer: dict = Field(default_factory=dict, description="see vitlens_core/modalities")
    lens: LensSettings = LensSettings()
    trunk: TrunkSettings = TrunkSettings()
    head: Head = "frozen"
    train: TrainConfig = TrainConfig()

    def tower(self) -> TowerSettings:
        return TowerSettings(
            modality=self.modality,
            tokenizer=self.tokenizer,
            lens=self.lens,
            trunk=self.trunk,
            head=self.head,
        )


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
    build = runtime.store.begin(STEP, VERSION, config, inputs)
    if build.existing:
        return build.existing
    config.train.weights(taught=has_teacher(foundation))
    # In this process first: sizes that do not fit are a mistake, which Ray Train would retry.
    config.tower().build(open_foundation(foundation).trunk)
    # Late: Ray Train takes seconds to import, and settings are checked without it.
    from pipelines.training import TrainJob
    from pipelines.workers import fit, remove

    checkpoints = build.folder / "checkpoints"
    job = TrainJob(config.tower(), config.train, targets, foundation, runtime.resources)
    with runtime.progress(STEP, config.train.steps, "steps") as bar:
        last = fit(job, checkpoints, bar)
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

"""step: declares the step `lens` and its settings; `job` does the work."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipelines.execution.step import Step
from pipelines.lens.settings import TrainConfig
from vitlens_core.network_settings import HeadKind, LensSettings, TrunkSettings


class LensConfig(BaseModel):
    """The network's shape and its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokenizer: dict[str, object] = Field(
        default_factory=dict, description="the modality's `TokenizerConfig`"
    )
    lens: LensSettings = LensSettings()
    trunk: TrunkSettings = TrunkSettings()
    head: HeadKind = "frozen"
    train: TrainConfig = TrainConfig()


STEP = Step(
    name="lens",
    version=6,
    description="The trained tokenizer and lens.",
    inputs=("targets", "foundation"),
    made_by="Ray Train",
    reads="targets and foundation",
    writes={
        "lens.safetensors": "trained tensors, the settings of the tower, the digest of the "
        "foundation",
        "curves.json": "loss by step, validation, and the kind of target that validation used "
        "(`TrainingCurves`)",
    },
    promises="A killed run goes on at its last checkpoint. Checkpoints are removed at the end.",
)

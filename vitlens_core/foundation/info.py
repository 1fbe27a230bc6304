"""What `foundation.json` states of a foundation; read without torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


def _is_unset(value: object) -> bool:
    return value is None


class FoundationInfo(BaseModel):
    """Which foundation a lens was trained on, and what is needed to open it again."""

    model_config = ConfigDict(frozen=True)

    spec: str = Field(description="`open_clip:…`, `lit:…` or `hf:…`")
    embed_dim: int = Field(ge=1, description="width E of the space")
    image_size_px: int = Field(ge=1, description="side of the square images that it takes")
    digest: str = Field(description="SHA-256 of its weights, hexadecimal")
    background: int = Field(255, ge=0, le=255, description="grey level behind a view")
    logit_scale: float | None = Field(
        None,
        gt=0,
        exclude_if=_is_unset,
        description="inverse temperature with which image and text were trained",
    )
    has_text: bool = Field(
        True, exclude_if=lambda has: has, description="whether it has a text tower"
    )
    teachers: dict[str, str] = Field(
        {},
        exclude_if=lambda teachers: not teachers,
        description="modality of each lens that teaches, by the teacher's name",
    )

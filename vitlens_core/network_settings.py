"""Settings of a tower's lens, trunk and head, checked without torch; `tower` builds from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

HeadKind = Annotated[
    Literal["frozen", "linear", "mlp"],
    Field(description="`frozen` keeps the foundation's projection; `linear` and `mlp` are trained"),
]


class LensSettings(BaseModel):
    """Shape of the lens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["perceiver", "identity"] = Field(
        "perceiver", description="`identity` passes the tokenizer's tokens to the trunk"
    )
    latents: int = Field(256, ge=1, description="latents, the trunk's tokens; a square number")
    depth: int = Field(4, ge=1, description="cross-attention layers")
    self_per_cross: int = Field(1, ge=0, description="self-attention layers after each of these")
    cross_heads: int = Field(1, ge=1, description="heads of a cross-attention")
    cross_dim_head: int = Field(64, ge=1, description="width of a cross-attention head")
    latent_heads: int = Field(16, ge=1, description="heads of a self-attention")
    latent_dim_head: int = Field(64, ge=1, description="width of a self-attention head")
    tie_weights: bool = Field(False, description="all layers but the first share weights")


class TrunkSettings(BaseModel):
    """Which of the trunk's blocks the tower uses, and which parts of the trunk are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(
        None,
        description="timm:<model>.<tag or file>; unset: the foundation's own. The head is trained "
        "then",
    )
    random: int | None = Field(
        None, ge=0, description="seed of random weights, as a control; unset: the pretrained ones"
    )
    skip_first: int = Field(0, ge=0, description="blocks dropped at the start")
    skip_last: int = Field(0, ge=0, description="blocks dropped at the end")
    unlock_cls: bool = Field(False, description="train the CLS token")
    unlock_positions: bool = Field(False, description="train the positional table")
    unlock_norm_pre: bool = Field(False, description="train the norm before the blocks")
    unlock_first: int = Field(0, ge=0, description="blocks to train, from the first one used")
    unlock_last: int = Field(
        0, ge=0, description="blocks to train, from the last one used back, with the norm after it"
    )

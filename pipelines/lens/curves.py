"""curves: what training measured on its way, as `curves.json` states it; read without torch."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ConfigDict, Field

from pipelines.store.artifacts import Artifact
from pipelines.targets.step import TARGET_KINDS, TargetKind

CURVES_FILE = "curves.json"


class ValidationPoint(BaseModel):
    """One look at the validation split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    loss: float
    r1: float = Field(description="share whose own target lies nearest")


class TrainingCurves(BaseModel):
    """Losses by step, and what validation was measured against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[dict[str, int | float], ...] = Field(
        description="per step: step, loss, loss_<kind> of every kind of target, lr"
    )
    val: tuple[ValidationPoint, ...] = ()
    validated_against: TargetKind | None = Field(
        description="the kind of target of `val`; null if nothing was validated"
    )


def validation_kind(kinds: Collection[str]) -> TargetKind:
    """The kind of target that validation is measured against, of those trained against."""
    return next(kind for kind in TARGET_KINDS if kind in kinds)


def read_curves(lens: Artifact) -> TrainingCurves:
    """The content of `curves.json`."""
    return lens.read_model(CURVES_FILE, TrainingCurves)

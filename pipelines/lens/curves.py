"""curves: the content of `curves.json`: losses and validation by step; needs no torch."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ConfigDict, Field

from pipelines.store.artifacts import Artifact
from pipelines.targets.step import in_order

CURVES_FILE = "curves.json"


class ValidationPoint(BaseModel):
    """One measurement on the validation split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    loss: float
    r1: float = Field(description="R@1: share of samples whose nearest target is their own")


class TrainingCurves(BaseModel):
    """Losses by step, and the kind of target that validation used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[dict[str, int | float], ...] = Field(
        description="per step: step, loss, loss_<kind> of every kind of target, lr"
    )
    val: tuple[ValidationPoint, ...] = ()
    validated_against: str | None = Field(
        description="kind of target of `val`; null without validation"
    )


def validation_kind(kinds: Collection[str]) -> str:
    """Choose the kind of target for validation from the kinds that are trained against."""
    return in_order(kinds)[0]


def read_curves(lens: Artifact) -> TrainingCurves:
    """Read `curves.json`."""
    return lens.read_model(CURVES_FILE, TrainingCurves)

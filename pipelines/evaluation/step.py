"""step: declares the step `evaluation` and its settings; `job` does the work."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.execution.step import Step


class EvaluationConfig(BaseModel):
    """What is evaluated, and how the intervals of the figures are computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["test", "val"] = Field("test", description="val serves for tuning")
    batch_size: int = Field(32, ge=1, description="signals that pass the tower at a time")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of an interval")
    seed: int = Field(0, description="of the intervals")


STEP = Step(
    name="evaluation",
    version=5,
    description="Zero-shot classification and retrieval on held-out samples, with intervals.",
    inputs=("targets", "foundation", "lens"),
    made_by="torch",
    reads="targets, foundation and lens; the held-out split unless told otherwise",
    writes={
        "metrics.json": "zero-shot classification of the modality and, as its ceiling, of the "
        "foundation's own images (mean over views) and of the signals for each teacher; retrieval; "
        "confusion matrix; intervals; what the lens was trained against, and whether its figures "
        "are emergent: then it never saw text (`EvaluationResult`)",
        "predictions.json": "per sample whether it is right, its best classes, and its nearest "
        "samples by image (`Predictions`)",
        "calibration.json": "the temperature fitted on validation samples, if they suffice "
        "(`Calibration`)",
        "prototypes.safetensors": "of a foundation without a text tower: for each class of the "
        "training samples the mean of their image targets, with which signals are compared in "
        "place of words (`Prototypes`)",
    },
    promises="Deterministic. Intervals are over whole groups (objects, subjects); over few "
    "groups they are Student's. No choice is made on the held-out samples. What needs images or "
    "captions is left out where held-out samples have none.",
)

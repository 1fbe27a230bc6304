"""settings: how a connector is trained and measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vitlens_core.intervals import FEW_GROUPS

STEP_NAME = "connector"  # of the artifact, which is no step of the flow
VERSION = 2  # raise it when the same settings and inputs begin to give other bytes


class ConnectorConfig(BaseModel):
    """How a connector is trained; every choice among them is made on the validation split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: int = Field(3, ge=1, description="connectors that are trained, with seeds from 0 on")
    ridges: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.01, 0.1, 1.0, 10.0),
        min_length=1,
        description="strengths of the regression that are tried, relative to the mean variance of "
        "a dimension",
    )
    steps: int = Field(40, ge=1, description="steps of language-model loss; more overfit")
    check_every: int = Field(20, ge=1, description="steps between two looks at the validation")
    batch_size: int = Field(16, ge=1, description="objects of a step")
    learning_rate: float = Field(1e-3, gt=0, description="of AdamW")
    hidden: int = Field(256, ge=1, description="width of the residual MLP")
    noise: float = Field(
        0.03, ge=0, description="standard deviation added to each number of an embedding"
    )


class MeasuringConfig(BaseModel):
    """How the intervals of a connector's figures are computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(32, ge=1, description="signals that pass the tower at a time")
    resamples: int = Field(
        2000,
        ge=100,
        description=f"bootstrap resamples; below {FEW_GROUPS} groups it is Student's t",
    )
    seed: int = Field(0, description="of the resamples and of the shuffled control")

"""settings: what is asked of a challenger beside its workflow's gates, and what training tells."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipelines.registry.loggers.base import AnyLogger
from pipelines.registry.loggers.mlflow import Mlflow


class SanityConfig(BaseModel):
    """What a consumer's process may cost, and how exact it must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_latency_ms: float = Field(
        5000, gt=0, description="per input, median of `repeats`, one input at a time"
    )
    max_memory_mb: float = Field(8192, gt=0, description="peak resident memory of the process")
    tolerance: float = Field(
        1e-4, gt=0, description="largest difference of an embedding alone and in a batch"
    )
    repeats: int = Field(5, ge=2, description="embeddings of one input that are timed")
    timeout_s: float = Field(900, gt=0, description="for loading and embedding in all")


class NonInferiorityConfig(BaseModel):
    """How much worse than the champion a challenger may be, and with which confidence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = Field(0.02, ge=0, lt=1, description="of top-1 that may be lost at most")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="one-sided")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples")
    seed: int = Field(0, description="of the bootstrap")


class AcceptanceConfig(BaseModel):
    """What is asked beside the thresholds; a tier that is null is switched off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sanity: SanityConfig | None = SanityConfig()
    non_inferiority: NonInferiorityConfig | None = NonInferiorityConfig()


class TrackingConfig(BaseModel):
    """Who is told of a training while it goes on. Never part of a fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loggers: tuple[AnyLogger, ...] = Field(
        (Mlflow(),), description="names, or settings with their `kind`, as [mlflow, json_lines]"
    )

"""settings: settings of the gates that every challenger has, and of the loggers of a training."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.registry.loggers.base import AnyLogger
from pipelines.registry.loggers.mlflow import Mlflow


class SanityConfig(BaseModel):
    """The most a consumer's process may cost, and how exact its embeddings must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_latency_ms: float = Field(
        5000, gt=0, description="time per input, one at a time; median of `repeats`"
    )
    max_memory_mb: float | None = Field(
        None,
        gt=0,
        description="peak resident memory of the process; unset: 4,096 and three times the weights",
    )
    tolerance: float = Field(
        1e-4, gt=0, description="largest difference of an embedding alone and in a batch"
    )
    repeats: int = Field(5, ge=2, description="times that one input is embedded")
    timeout_s: float = Field(900, gt=0, description="for loading and embedding together")


class NonInferiorityConfig(BaseModel):
    """How much worse than the champion a challenger may be, and with which confidence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = Field(0.02, ge=0, le=1, description="largest loss of top-1; 1: any")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="one-sided confidence")
    other_classes: Literal["ask", "accept"] = Field(
        "ask", description="a challenger evaluated on other classes fails and asks; or accept them"
    )
    resamples: int = Field(2000, ge=100, description="bootstrap resamples")
    seed: int = Field(0, description="seed of the bootstrap")


class HeldOutConfig(BaseModel):
    """The fewest held-out samples that figures may rest on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_samples: int = Field(20, ge=1, description="held-out samples")
    min_groups: int = Field(2, ge=1, description="independent groups of them, such as subjects")
    min_classes: int = Field(2, ge=1, description="classes to choose among")


class AcceptanceConfig(BaseModel):
    """Settings of the gates of every modality; null switches one off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sanity: SanityConfig | None = SanityConfig()
    held_out: HeldOutConfig | None = HeldOutConfig()
    non_inferiority: NonInferiorityConfig | None = NonInferiorityConfig()


class TrackingConfig(BaseModel):
    """The loggers of a training. Never part of a fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loggers: tuple[AnyLogger, ...] = Field(
        (Mlflow(),), description="names such as [mlflow, json_lines], or settings with a `kind`"
    )

"""base: a logger: its settings, which never enter a fingerprint, and what they open."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipelines.execution.logger import TrainingLogger
from pipelines.store.home import Home
from vitlens_core.kinds import OneOf


class LoggerConfig(BaseModel, ABC):
    """Settings of a logger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="a module of pipelines.registry.loggers")

    @abstractmethod
    def open(self, home: Home) -> TrainingLogger:
        """Return the logger, without connecting: `start` is called when a training begins."""


AnyLogger = Annotated[LoggerConfig, OneOf(LoggerConfig, "logger", __package__ or "")]

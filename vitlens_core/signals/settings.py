"""The interface of a modality that is perceived through a lens.

    raw ─ store ─▶ signal ─ prepare / augment ─▶ what the tower sees ─ build() ─▶ tokens

*raw* is one recording as a file holds it, of any length or size; a *signal* has a fixed shape,
so that signals stack, and is what shards store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn


class SignalSettings(BaseModel, ABC):
    """Preparation, augmentation and tokenizer of a modality; frozen, unknown keys refused.

    Attributes:
        in_clips: a signal is a series of clips [S, …]; the tower averages their embeddings.
        raw_shape: of a raw recording; -1 for an axis of any length.
        starts_as_patches: the tokenizer starts from the trunk's own patch embedding.
        width: of a token. An identity lens hands tokens on: it must be the trunk's width.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    raw_shape: ClassVar[tuple[int, ...]]
    in_clips: ClassVar[bool] = False
    starts_as_patches: ClassVar[bool] = False
    width: Any

    @abstractmethod
    def store(self, raw: np.ndarray) -> np.ndarray:
        """One raw array → its signal, float32 or uint8. Raises InputError."""

    @abstractmethod
    def prepare(self, signals: Tensor) -> Tensor:
        """Signals [B, …] → what the tower sees. Raises InputError."""

    @abstractmethod
    def augment(self, signals: Tensor, generator: torch.Generator) -> Tensor:
        """Signals [B, …] → one random variant each, as the tower sees it. Raises InputError."""

    @abstractmethod
    def example(self) -> np.ndarray:
        """A made-up raw recording that `store` takes, the same every time."""

    @abstractmethod
    def build(self) -> nn.Module:
        """A tokenizer with random weights."""

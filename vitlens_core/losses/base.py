"""What a loss is: settings, and a scalar of paired embeddings and targets.

Axes: B batch of all workers, M further negatives, E embedding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vitlens_core.errors import InputError
from vitlens_core.kinds import OneOf
from vitlens_core.late import torch

# CLIP's bound on the learned logarithm of the logit scale (arXiv 2103.00020, 2.5).
MAX_LOG_SCALE = math.log(100)


@dataclass(frozen=True)
class Negatives:
    """Further rows of the targets' kind.

    Attributes:
        targets: [M, E].
        excluded: bool [B, M], which of them are no negatives of which row.
    """

    targets: torch.Tensor
    excluded: torch.Tensor


@dataclass(frozen=True)
class Pairs:
    """What a loss is taken of: the whole batch against one kind of target.

    Attributes:
        embeddings: unit-norm [B, E]; row i belongs to row i of the targets.
        targets: unit-norm [B, E].
        label_ids: [B] integers; rows of one label are positives of each other. None: only the
            pair itself is positive.
        negatives: further targets, if there are any.
    """

    embeddings: torch.Tensor
    targets: torch.Tensor
    label_ids: torch.Tensor | None = None
    negatives: Negatives | None = None

    def __post_init__(self) -> None:
        """Raises InputError: shapes differ."""
        a, b = self.embeddings, self.targets
        if a.shape != b.shape or a.ndim != 2:
            raise InputError(
                f"expected two [B, E] tensors, got {list(a.shape)} and {list(b.shape)}"
            )

    def positives(self) -> torch.Tensor:
        """Bool [B, B]: which target is a positive of which row."""
        if self.label_ids is None:
            return torch.eye(len(self.targets), dtype=torch.bool, device=self.targets.device)
        return self.label_ids[:, None] == self.label_ids[None, :]


class Loss(BaseModel, ABC):
    """A loss and its settings; it holds no tensors, so that it can be sent to workers.

    Attributes:
        kind: its module.
        takes_scale: whether the value depends on the logit scale; if not, the scale stays as it is.
        max_log_scale: what the learned logarithm of the logit scale may not exceed; None: no bound.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    takes_scale: ClassVar[bool] = True
    max_log_scale: ClassVar[float | None] = MAX_LOG_SCALE

    kind: str = Field(description="a module of vitlens_core.losses")

    @property
    def initial_log_scale(self) -> float | None:
        """Where a learned scale starts; None: where the tower starts it, as CLIP does."""
        return None

    def initial_parameters(self) -> dict[str, torch.Tensor]:
        """What the loss trains beside the tower, by name, as it starts.

        The optimizer, the clipping of gradients and checkpoints take them in; no lens holds them.
        """
        return {}

    @abstractmethod
    def __call__(
        self,
        pairs: Pairs,
        log_scale: torch.Tensor,
        parameters: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """A scalar, differentiable by embeddings, log scale and parameters.

        Args:
            pairs: of all workers. Every worker computes the same loss: gradients are exchanged
                where embeddings are.
            log_scale: logarithm of the logit scale.
            parameters: those of `initial_parameters`, as they are now.
        """


LOSSES = OneOf(Loss, "loss", __package__ or "", default="info_nce")
AnyLoss = Annotated[Loss, LOSSES]

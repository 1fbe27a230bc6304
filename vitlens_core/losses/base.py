"""What a loss is: settings, and a scalar of paired embeddings and targets.

Axes: B batch of all workers, R rows of it whose loss is asked for, M further negatives,
E embedding.
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
        excluded: bool [R, M], which of them are no negatives of which row.
    """

    targets: torch.Tensor
    excluded: torch.Tensor


@dataclass(frozen=True)
class Pairs:
    """What a loss is taken of: some rows of a batch, and all rows that they are compared with.

    Attributes:
        embeddings: unit-norm [B, E]; row i belongs to row i of the targets.
        targets: unit-norm [B, E].
        label_ids: [B] integers; rows of one label are positives of each other. None: only the
            pair itself is positive.
        negatives: further targets, if there are any.
        rows: the rows whose loss is asked for; None: all. A worker asks for its own, and in parts,
            so that nobody holds a matrix [B, B].
    """

    embeddings: torch.Tensor
    targets: torch.Tensor
    label_ids: torch.Tensor | None = None
    negatives: Negatives | None = None
    rows: slice | None = None

    def __post_init__(self) -> None:
        """Raises InputError: shapes differ."""
        a, b = self.embeddings, self.targets
        if a.shape != b.shape or a.ndim != 2:
            raise InputError(
                f"expected two [B, E] tensors, got {list(a.shape)} and {list(b.shape)}"
            )

    @property
    def own_embeddings(self) -> torch.Tensor:
        """Embeddings of the rows whose loss is asked for [R, E]."""
        return self.embeddings[self._rows]

    @property
    def own_targets(self) -> torch.Tensor:
        """Targets of the rows whose loss is asked for [R, E]."""
        return self.targets[self._rows]

    def positives(self) -> torch.Tensor:
        """Bool [R, B]: which target is a positive of which row; the relation is symmetric."""
        if self.label_ids is None:
            numbers = torch.arange(len(self.targets), device=self.targets.device)
            return numbers[self._rows, None] == numbers[None, :]
        return self.label_ids[self._rows, None] == self.label_ids[None, :]

    def logits(self, scale: torch.Tensor | float) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled products of own embeddings with all targets, and own targets with all embeddings.

        Both are [R, B].
        """
        to_targets = scale * self.own_embeddings @ self.targets.T
        if self.rows is None:  # the same products, seen from the other side
            return to_targets, to_targets.T
        return to_targets, scale * self.own_targets @ self.embeddings.T

    @property
    def _rows(self) -> slice:
        return slice(None) if self.rows is None else self.rows


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
        """The mean over the rows asked for, differentiable by embeddings, log scale, parameters.

        The mean over all rows is the loss of the batch; so a loss of a row must not depend on which
        rows are asked for beside it.

        Args:
            pairs: rows, and the batch of all workers that they are compared with.
            log_scale: logarithm of the logit scale.
            parameters: those of `initial_parameters`, as they are now.
        """


LOSSES = OneOf(Loss, "loss", __package__ or "", default="info_nce")
AnyLoss = Annotated[Loss, LOSSES]

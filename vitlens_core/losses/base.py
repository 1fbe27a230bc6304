"""What a loss is: settings, and a scalar of paired embeddings and targets.

Axes: B batch of all workers, R rows of it whose loss is asked for, T targets of the batch, S those
of the rows asked for (T = B and S = R where every row has one), M further negatives, E embedding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from vitlens_core.errors import InputError
from vitlens_core.kinds import OneOf
from vitlens_core.late import torch

# CLIP's bound on the learned logarithm of the logit scale (arXiv 2103.00020, 2.5).
MAX_LOG_SCALE = math.log(100)

Positives = Literal["drawn", "all"]  # which targets of a sample a step holds it against


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
class Several:
    """Which targets are whose, where a row has several (all views of a sample, or all captions).

    Attributes:
        counts: the number of targets of each row, at least 1.
        weights: [T], above 0; those of a row sum to 1.
    """

    counts: tuple[int, ...]
    weights: torch.Tensor

    @cached_property
    def rows(self) -> torch.Tensor:
        """The row of each target [T]."""
        device = self.weights.device
        counts = torch.tensor(self.counts, device=device)
        numbers = torch.arange(len(counts), device=device)
        # With its size stated, a GPU is not waited for.
        return numbers.repeat_interleave(counts, output_size=self._ends[-1])

    def of(self, rows: slice) -> slice:
        """Return where the targets of rows [start, stop) lie."""
        return slice(self._ends[rows.start], self._ends[rows.stop])

    @cached_property
    def _ends(self) -> list[int]:
        return [0, *accumulate(self.counts)]


@dataclass(frozen=True)
class Pairs:
    """What a loss is taken of: some rows of a batch, and all rows that they are compared with.

    Attributes:
        embeddings: unit-norm [B, E].
        targets: unit-norm [T, E]; row i belongs to row i of the embeddings, or as `several` says.
        label_ids: [B] integers; rows of one label are positives of each other. None: only the
            pair itself is positive.
        negatives: further targets, if there are any.
        rows: the rows whose loss is asked for; None: all. A worker asks for its own, and in parts,
            so that nobody holds a matrix [B, T].
        several: which targets are whose; None: each row has one.
    """

    embeddings: torch.Tensor
    targets: torch.Tensor
    label_ids: torch.Tensor | None = None
    negatives: Negatives | None = None
    rows: slice | None = None
    several: Several | None = None

    def __post_init__(self) -> None:
        """Raises InputError: shapes differ."""
        a, b = self.embeddings, self.targets
        if self.several is None and (a.shape != b.shape or a.ndim != 2):
            raise InputError(
                f"expected two [B, E] tensors, got {list(a.shape)} and {list(b.shape)}"
            )
        if self.several is not None:
            counts = self.several.counts
            if len(counts) != len(a) or sum(counts) != len(b) or min(counts, default=0) < 1:
                raise InputError(
                    f"expected [B, E] embeddings with 1 target or more of each, got {list(a.shape)}"
                    f" and {list(b.shape)}, and counts of {len(counts)} rows, {sum(counts)} in all"
                )

    @property
    def own_embeddings(self) -> torch.Tensor:
        """Embeddings of the rows whose loss is asked for [R, E]."""
        return self.embeddings[self._rows]

    @property
    def own_targets(self) -> torch.Tensor:
        """Targets of the rows whose loss is asked for [S, E]."""
        return self.targets[self._own]

    def positives(self) -> torch.Tensor:
        """Bool [R, T]: which target is a positive of which row."""
        numbers = self._numbers
        return numbers[self._rows, None] == self._of_targets(numbers)[None, :]

    def weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of the positives of own embeddings [R, T], and of own targets [S, B].

        Those of others are 0; each line sums to 1. Positives of one label have equal weight, shared
        by the targets of each as `several` says.
        """
        numbers, dtype = self._numbers, self.embeddings.dtype
        of_embeddings = self.positives().to(dtype)
        if self.several is not None:
            of_embeddings = of_embeddings * self.several.weights.to(dtype)
        of_targets = self._of_targets(numbers)[self._own, None] == numbers[None, :]
        of_targets = of_targets.to(dtype)
        return (
            of_embeddings / of_embeddings.sum(1, keepdim=True),
            of_targets / of_targets.sum(1, keepdim=True),
        )

    def logits(self, scale: torch.Tensor | float) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled products of own embeddings with all targets, and own targets with all embeddings.

        They are [R, T] and [S, B].
        """
        to_targets = scale * self.own_embeddings @ self.targets.T
        if self.rows is None:  # the same products, seen from the other side
            return to_targets, to_targets.T
        return to_targets, scale * self.own_targets @ self.embeddings.T

    def mean_over_rows(self, of_targets: torch.Tensor) -> torch.Tensor:
        """Average values of own targets [S]: over the targets of a row, then over rows."""
        if self.several is None:
            return of_targets.mean()
        weights = self.several.weights[self._own].to(of_targets.dtype)
        return (of_targets * weights).sum() / len(self.own_embeddings)

    @property
    def target_weights(self) -> torch.Tensor | float:
        """The weight of each target among those of its row, [T] or 1."""
        return 1.0 if self.several is None else self.several.weights.to(self.targets.dtype)

    @property
    def _numbers(self) -> torch.Tensor:
        """A number of each row [B]; rows of one number are positives of each other."""
        if self.label_ids is not None:
            return self.label_ids
        return torch.arange(len(self.embeddings), device=self.embeddings.device)

    def _of_targets(self, of_rows: torch.Tensor) -> torch.Tensor:
        """Return what belongs to each target [T] of what belongs to each row [B]."""
        return of_rows if self.several is None else of_rows[self.several.rows]

    @property
    def _rows(self) -> slice:
        return slice(None) if self.rows is None else self.rows

    @property
    def _own(self) -> slice:
        """Where the targets of the rows asked for lie."""
        if self.several is None or self.rows is None:
            return self._rows
        return self.several.of(self.rows)


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
    positives: Positives = Field(
        "drawn",
        description="what a sample is held against in a step: one of its views and one of its "
        "captions, `drawn` anew, or `all` of them",
    )

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

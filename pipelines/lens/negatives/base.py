"""base: a sampling of negatives: its settings, and a sampler that every worker opens once.

Axes: B rows of a worker, K most targets of one of them, M further negatives, E embedding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

from pipelines.store.artifacts import Artifact
from vitlens_core.kinds import OneOf
from vitlens_core.late import torch
from vitlens_core.losses.base import Negatives


@dataclass(frozen=True)
class BatchRows:
    """The rows of one worker against one kind of target.

    Attributes:
        kind: `image`, `text` or `teacher_<name>`.
        targets: the rows' own [B, K, E]; K is 1 if one is drawn, and a row with fewer has zeros.
        sample_ids: the rows' samples [B].
        label_ids: the rows' labels [B]; a sample without a label has one of its own.
        label_positives: whether samples of one label are positives of each other.
    """

    kind: str
    targets: torch.Tensor
    sample_ids: torch.Tensor
    label_ids: torch.Tensor
    label_positives: bool


class NegativeSampler(Protocol):
    """Gives a batch the targets of other samples.

    It has no state in checkpoints: its result is a function of the settings, the data and the rows,
    the same on whichever worker they are.
    """

    def sample(self, rows: BatchRows) -> Negatives:
        """Return negatives for the rows."""
        ...


class NegativeSampling(BaseModel, ABC):
    """Settings of a sampling of negatives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="a module of pipelines.lens.negatives")

    @abstractmethod
    def open(
        self, targets: Artifact, kinds: Collection[str], *, seed: int, device: torch.device
    ) -> NegativeSampler:
        """Open the sampler over the training split of `targets`.

        Args:
            kinds: the kinds of targets that are trained against.
        """


AnySampling = Annotated[
    NegativeSampling, OneOf(NegativeSampling, "sampling of negatives", __package__ or "")
]

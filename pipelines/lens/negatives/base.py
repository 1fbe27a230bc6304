"""What a sampling of negatives is: settings, and a sampler that every worker opens once.

Axes: B rows of the batch of all workers, M further negatives, E embedding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

from pipelines.store.artifacts import Artifact
from vitlens_core.kinds import OneOf
from vitlens_core.late import torch
from vitlens_core.losses.base import Negatives


class NegativeSampler(Protocol):
    """Gives a batch targets of other samples.

    Nothing of it is saved in checkpoints: what it gives is a function of the settings, the data
    and the batch, the same on every worker.
    """

    def sample(
        self,
        kind: str,
        targets: torch.Tensor,
        sample_ids: torch.Tensor,
        label_ids: torch.Tensor | None,
    ) -> Negatives:
        """Negatives of one kind of target for the batch of all workers.

        Args:
            kind: `image`, `text` or `teacher`.
            targets: the rows' own [B, E].
            sample_ids: the rows' samples [B].
            label_ids: the rows' labels [B], if samples of one label are positives of each other.
        """
        ...


class NegativeSampling(BaseModel, ABC):
    """Settings of a sampling of negatives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="a module of pipelines.lens.negatives")

    @abstractmethod
    def open(
        self, targets: Artifact, kinds: Collection[str], *, seed: int, device: torch.device
    ) -> NegativeSampler:
        """The sampler over the training split of `targets`.

        Args:
            kinds: of targets that are trained against.
        """


AnySampling = Annotated[
    NegativeSampling, OneOf(NegativeSampling, "sampling of negatives", __package__ or "")
]

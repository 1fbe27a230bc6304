"""bank: targets of other samples as further negatives.

Targets are frozen, so those of the whole data set can be held ready: InfoNCE toward them sees
as many negatives as one likes, whatever the batch. (Toward the lens it sees the batch alone:
the embeddings of other samples change with every step.)

Axes: M entries of the bank, B rows of the batch of all workers, E embedding.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipelines.lens.batches import draw_target
from pipelines.lens.shard_table import label_of, stable_group
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import targets_file

_SAME = 0.999  # cosine from which a target is the row's own: captions recur


@dataclass(frozen=True)
class TargetBank:
    """Targets by kind, each [M, E], and the sample and the label that each belongs to, [M]."""

    targets: dict[str, Tensor]
    owners: Tensor
    groups: Tensor

    @classmethod
    def read(
        cls,
        made: Artifact,
        kinds: Collection[str],
        size: int,
        *,
        seed: int,
        device: torch.device,
    ) -> TargetBank:
        """One target of every kind of the first `size` training samples, drawn."""
        drawn: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
        owners, groups = [], []
        files = [targets_file(kind) for kind in kinds]
        samples = (s for p in made.shards("train") for s in made.read(p, [*files, "json"]))
        for sample, _ in zip(samples, range(size), strict=False):
            key = sample["__key__"]
            rng = random.Random(f"{seed}/bank/{key}")  # noqa: S311
            for kind in kinds:
                drawn[kind].append(draw_target(sample, kind, rng))
            owners.append(stable_group(key))
            groups.append(stable_group(label_of(sample)))
        return cls(
            {k: torch.from_numpy(np.stack(rows)).to(device).float() for k, rows in drawn.items()},
            torch.tensor(owners, device=device),
            torch.tensor(groups, device=device),
        )

    def negatives(
        self, kind: str, paired: Tensor, owners: Tensor, groups: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The entries [M, E], and which are no negatives of which row [B, M].

        Args:
            paired: the rows' own targets [B, E].
            owners: the rows' samples [B].
            groups: the rows' labels [B], if samples of one label are positives of each other.
        """
        entries = self.targets[kind]
        own = owners[:, None] == self.owners
        own |= paired @ entries.T > _SAME
        if groups is not None:
            own |= groups[:, None] == self.groups
        return entries, own

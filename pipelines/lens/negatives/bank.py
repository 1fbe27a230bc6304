"""bank: targets of other samples, kept in memory as further negatives.

Targets are frozen, so those of the whole data set can be kept: the loss from the lens to the
targets can have any number of negatives, whatever the batch size. (The loss from the targets to
the lens has those of the batch only, since embeddings change with every step.)

Axes: M entries of the bank, B rows of a worker, E embedding.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from pipelines.lens.negatives.base import BatchRows, NegativeSampling
from pipelines.lens.shard_table import draw_target, label_of, stable_id
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import targets_file
from vitlens_core.late import torch
from vitlens_core.losses.base import Negatives

_SAME = 0.999  # least cosine at which an entry counts as the row's own target: captions recur


class Bank(NegativeSampling):
    """Draws one target of every kind from each of the first training samples."""

    kind: Literal["bank"] = "bank"
    size: int = Field(ge=1, description="training samples in the bank")

    def open(
        self, targets: Artifact, kinds: Collection[str], *, seed: int, device: torch.device
    ) -> TargetBank:
        drawn: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
        sample_ids, label_ids = [], []
        files = [targets_file(kind) for kind in kinds]
        shards = targets.shards("train")
        samples = (sample for path in shards for sample in targets.read(path, [*files, "json"]))
        for sample, _ in zip(samples, range(self.size), strict=False):
            key = sample["__key__"]
            rng = random.Random(f"{seed}/bank/{key}")  # noqa: S311
            for kind in kinds:
                drawn[kind].append(draw_target(sample, kind, rng))
            sample_ids.append(stable_id(key))
            label_ids.append(stable_id(label_of(sample)))
        return TargetBank(
            {k: torch.from_numpy(np.stack(rows)).to(device) for k, rows in drawn.items()},
            torch.tensor(sample_ids, device=device),
            torch.tensor(label_ids, device=device),
        )


@dataclass(frozen=True)
class TargetBank:
    """Targets by kind, each [M, E], and the sample and the label that each belongs to, [M]."""

    targets: dict[str, torch.Tensor]
    sample_ids: torch.Tensor
    label_ids: torch.Tensor

    def sample(self, rows: BatchRows) -> Negatives:
        """Return all entries, and exclude a row's own target, sample and positives from its own."""
        entries = self.targets[rows.kind]
        excluded = rows.sample_ids[:, None] == self.sample_ids
        for own in rows.targets.unbind(1):  # one at a time: a tensor [B, K, M] may be large
            excluded |= own @ entries.T > _SAME
        if rows.label_positives:
            excluded |= rows.label_ids[:, None] == self.label_ids
        return Negatives(entries, excluded)

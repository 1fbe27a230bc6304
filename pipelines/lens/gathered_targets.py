"""gathered_targets: the targets of the batch of all workers, where samples may have several each.

Axes: R rows of a worker, B those of all workers, K most targets of one row, T targets of all rows,
E embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.lens.batches import Batch
from pipelines.lens.parallel import gather_objects, gather_rows
from vitlens_core.losses.base import Several


@dataclass(frozen=True)
class GatheredTargets:
    """Targets of one kind.

    Attributes:
        own: this worker's [R, K, E]; 0 where a row has fewer.
        of_all: those of all workers [T, E], row by row.
        several: which are whose; None: each row has one.
    """

    own: Tensor
    of_all: Tensor
    several: Several | None


def gather_targets(batch: Batch, kind: str, device: torch.device) -> GatheredTargets:
    """Gather the targets of a kind on this worker's device; all workers must call it."""
    own = batch.targets[kind].to(device)
    if kind not in batch.weights:
        return GatheredTargets(own[:, None], gather_rows(own), None)
    weights = batch.weights[kind]
    # A target that is never drawn (weight 0) is none.
    taken = weights > 0
    # As Python's numbers: the CPU needs them, and would wait for a GPU.
    columns = gather_objects([row.nonzero()[:, 0].tolist() for row in taken])
    most = 1 + max(of_row[-1] for of_row in columns)
    missing = most - own.shape[1]
    every = gather_rows(F.pad(own, (0, 0, 0, missing))).flatten(0, 1)
    shares = gather_rows(F.pad(weights.to(device), (0, missing))).flatten()
    numbers = [row * most + column for row, of_row in enumerate(columns) for column in of_row]
    at = torch.tensor(numbers).to(device)
    several = Several(tuple(map(len, columns)), shares[at])
    return GatheredTargets(own * taken.to(device)[..., None], every[at], several)

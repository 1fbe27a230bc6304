"""validation: embeds the validation split with all workers together.

Axes: N samples of the split, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.lens.parallel import gather_rows
from pipelines.lens.shard_table import read_targets
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample, decode_array

_MOST = 4096  # samples of the split: every validation compares all with all, on every worker
_ROWS_PER_FORWARD = 64  # rows of one worker; without a graph they take little memory
_KEPT_BYTES = 2 * 1024**3  # of prepared inputs that stay on a worker's device


@dataclass(frozen=True)
class _Part:
    """One forward pass of all workers.

    Attributes:
        signals: this worker's prepared rows [B, …], on its device or in the CPU's memory.
        count: number of samples of all workers; the repeated ones that follow are cut off.
    """

    signals: Tensor
    count: int


@dataclass(frozen=True)
class ValidationSplit:
    """What one worker needs to embed its share of the split.

    Attributes:
        kind: kind of the targets that embeddings are compared with.
        signal: extension of the stored signal.
        prepare: prepares stored signals for the tower.
    """

    targets: Artifact
    kind: str
    signal: str
    prepare: Callable[[Tensor], Tensor]
    rank: int
    world_size: int
    device: torch.device

    @property
    def is_empty(self) -> bool:
        return not self.targets.shards("val")

    def embed(self, embed: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return embeddings and unit-norm mean targets [N, E], whole on every worker.

        All workers must call it, as the shards of a tower work together.
        """
        parts, paired = self._read
        embeddings = [
            gather_rows(embed(part.signals.to(self.device, non_blocking=True)))[: part.count]
            for part in parts
        ]
        return torch.cat(embeddings), paired

    @cached_property
    def _read(self) -> tuple[list[_Part], Tensor]:
        """Read and prepare the split once: later validations find it where it is needed."""
        stored = (s for path in self.targets.shards("val") for s in self.targets.read(path))
        samples = islice(stored, _MOST)
        parts, paired, kept_bytes = [], [], 0
        while rows := list(islice(samples, _ROWS_PER_FORWARD * self.world_size)):
            signals = self.prepare(self._own_signals(rows))
            kept_bytes += signals.nbytes
            there = signals.to(self.device) if kept_bytes <= _KEPT_BYTES else signals
            parts.append(_Part(there, len(rows)))
            means = [torch.tensor(read_targets(s, self.kind)).mean(0) for s in rows]
            paired.append(F.normalize(torch.stack(means), dim=-1).to(self.device))
        return parts, torch.cat(paired)

    def _own_signals(self, rows: list[Sample]) -> Tensor:
        """Return this worker's signals, as many as every other worker's.

        Gathering needs equal numbers, so rows are repeated; `embed` cuts the repeated ones off.
        """
        share = -(-len(rows) // self.world_size)
        of_worker = [rows[(self.rank * share + i) % len(rows)] for i in range(share)]
        return torch.from_numpy(np.stack([decode_array(s[self.signal]) for s in of_worker]))

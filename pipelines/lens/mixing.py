"""mixing: mix-up: some samples of a batch are mixed with another, signals and targets alike.

A row's draws are functions of (seed, step, row), and its partner is one of the three rows beside
it, so that a batch is the same on any number of workers whose rows divide by four. The partners
form a ring: two rows never consist of the same two samples.

The targets are frozen embeddings; that of a mixture is the mixture of its samples' embeddings.
(ViT-Lens mixes pictures and joins captions before it encodes them, which needs CLIP in every step.)

Axes: B rows of one worker, E embedding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.lens.batches import Batch
from pipelines.lens.settings import TrainConfig
from pipelines.lens.shard_table import stable_id
from vitlens_core.modalities.base import AnyTokenizer

RING = 4  # rows that are each other's partners


def mixed(batch: Batch, config: TrainConfig, tokenizer: AnyTokenizer, step: int) -> Batch:
    """Return the batch with `mix_up` of its rows mixed with their partners."""
    if not config.mix_up:
        return batch
    shares = torch.tensor([_share(row, batch.rows, config, step) for row in batch.rows])
    chosen = (shares < 1).nonzero()[:, 0]
    if not len(chosen):
        return batch
    partners = torch.tensor([_partner(batch.rows[i]) - batch.rows[0] for i in chosen.tolist()])
    of_chosen = shares[chosen]
    signals = batch.signals.clone()
    signals[chosen] = tokenizer.mix(batch.signals[chosen], batch.signals[partners], of_chosen)
    targets = {}
    for kind, own in batch.targets.items():
        share = of_chosen[:, None].to(own.dtype)
        targets[kind] = own.clone()
        mixture = share * own[chosen] + (1 - share) * own[partners]
        targets[kind][chosen] = F.normalize(mixture, dim=-1)
    return replace(batch, signals=signals, targets=targets)


def _share(row: int, rows: range, config: TrainConfig, step: int) -> float:
    """Draw the share of a row's own sample; 1 if it is not mixed."""
    # After the loss of a worker rows may no longer divide: a partner may be another worker's.
    if _partner(row) not in rows:
        return 1.0
    rng = np.random.default_rng(stable_id(f"{config.seed}/mix-up/{step}/{row}") & ((1 << 63) - 1))
    if rng.random() >= config.mix_up:
        return 1.0
    return float(rng.beta(config.mix_up_beta, config.mix_up_beta))


def _partner(row: int) -> int:
    return row - row % RING + (row + 1) % RING

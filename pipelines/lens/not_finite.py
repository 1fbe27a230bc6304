"""Why a loss or a gradient is not finite: the samples of all workers that brought it about."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.lens import parallel
from pipelines.lens.batches import Batch
from vitlens_core.errors import VitlensError

_NAMED = 8  # samples in a message


class LossError(VitlensError):
    """Loss or gradient of the whole batch is not finite: all workers meet it at the same step."""


def diagnose(embeddings: Tensor, batch: Batch) -> str:
    """What is not finite in the batch of all workers; each of them must call it."""
    stored = parallel.gather_objects(_not_finite(batch, [batch.signals, *batch.targets.values()]))
    if stored:
        return f"not finite are the stored signals or targets of {named(stored)}"
    embedded = parallel.gather_objects(_not_finite(batch, [embeddings]))
    culprits = f"embeddings of {named(embedded)}" if embedded else "no single embedding"
    return f"not finite: {culprits}; lower lens.train.learning_rate"


def _not_finite(batch: Batch, rows: list[Tensor]) -> list[str]:
    """Keys of the samples with a number that is not finite in one of `rows`, each [B, …]."""
    finite = torch.stack([r.detach().flatten(1).isfinite().all(1).cpu() for r in rows]).all(0)
    return [key for key, is_finite in zip(batch.keys, finite, strict=True) if not is_finite]


def named(keys: list[str]) -> str:
    """The first few of them, and how many there are besides."""
    further = f" and {len(keys) - _NAMED} others" if len(keys) > _NAMED else ""
    return f"{', '.join(keys[:_NAMED])}{further}"

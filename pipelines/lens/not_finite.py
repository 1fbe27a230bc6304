"""not_finite: finds the samples, of all workers, that made a loss or gradient not finite."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.lens import parallel
from pipelines.lens.batches import Batch
from vitlens_core.errors import VitlensError

_NAMED = 8  # most samples that a message names
_LOWER = "lower lens.train.learning_rate"


class LossError(VitlensError):
    """The loss or gradient of the whole batch is not finite; all workers raise it at one step."""


def diagnose(embeddings: Tensor, batch: Batch) -> str:
    """Describe what is not finite in the batch of all workers; each of them must call it."""
    stored = parallel.gather_objects(_not_finite(batch, [batch.signals, *batch.targets.values()]))
    if stored:
        return f"the stored signals or targets of {named(stored)} are not finite"
    embedded = parallel.gather_objects(_not_finite(batch, [embeddings]))
    if embedded:
        return f"the embeddings of {named(embedded)} are not finite; {_LOWER}"
    return f"all embeddings are finite; {_LOWER}"


def _not_finite(batch: Batch, rows: list[Tensor]) -> list[str]:
    """Return the keys of samples with a number that is not finite in one of `rows` [B, …]."""
    finite = torch.stack([r.detach().flatten(1).isfinite().all(1).cpu() for r in rows]).all(0)
    return [key for key, is_finite in zip(batch.keys, finite, strict=True) if not is_finite]


def named(keys: list[str]) -> str:
    """List the first few keys, and count the others."""
    further = f" and {len(keys) - _NAMED} others" if len(keys) > _NAMED else ""
    return f"{', '.join(keys[:_NAMED])}{further}"

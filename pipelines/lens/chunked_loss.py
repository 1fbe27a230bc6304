"""chunked_loss: the loss of many rows, a few at a time, so that no matrix [B, B] is ever held.

Each part is computed again in the backward pass: B = 32,768 would take 4 GB for each matrix, and a
loss holds several.

Axes: B batch of all workers, R rows whose loss is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vitlens_core.losses.base import Loss, Negatives, Pairs

MOST_LOGITS = 2**24  # of one part: 64 MB of fp32


def in_chunks(
    loss: Loss,
    pairs: Pairs,
    log_scale: Tensor,
    parameters: Mapping[str, Tensor],
    most_logits: int = MOST_LOGITS,
) -> Tensor:
    """Return what `loss` returns, computed for as many rows at a time as `most_logits` allow."""
    of_row = max(pairs.several.counts) if pairs.several else 1
    columns = of_row * len(pairs.embeddings)
    columns += len(pairs.negatives.targets) if pairs.negatives else 0
    own = range(len(pairs.embeddings))[pairs.rows or slice(None)]
    size = max(1, most_logits // columns)
    if len(own) <= size:
        return loss(pairs, log_scale, parameters)
    total = log_scale.new_zeros(())
    for first in range(0, len(own), size):
        part = own[first : first + size]
        excluded = pairs.negatives.excluded[first : first + size] if pairs.negatives else None
        mean = checkpoint(
            _of_part, loss, pairs, slice(part.start, part.stop), excluded, log_scale,
            dict(parameters), use_reentrant=False,
        )  # fmt: skip
        assert isinstance(mean, Tensor)
        total = total + mean * (len(part) / len(own))
    return total


def _of_part(
    loss: Loss,
    pairs: Pairs,
    rows: slice,
    excluded: Tensor | None,
    log_scale: Tensor,
    parameters: Mapping[str, Tensor],
) -> Tensor:
    negatives = None
    if pairs.negatives is not None and excluded is not None:
        negatives = Negatives(pairs.negatives.targets, excluded)
    return loss(replace(pairs, rows=rows, negatives=negatives), log_scale, parameters)

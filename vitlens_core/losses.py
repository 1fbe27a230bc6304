"""InfoNCE between a modality's embeddings and the foundation's targets.

Axes: B batch (over all workers, once gathered), E embedding.
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from vitlens_core.errors import InputError

# CLIP's bound on the learned logarithm of the logit scale (arXiv 2103.00020, 2.5).
MAX_LOG_SCALE = math.log(100)


def info_nce(
    a: Tensor,
    b: Tensor,
    scale: Tensor | float,
    label_ids: Tensor | None = None,
    negatives: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Symmetric InfoNCE of paired unit-norm embeddings, averaged over both directions.

    Args:
        a, b: [B, E]; row i of one belongs to row i of the other.
        scale: inverse temperature.
        label_ids: [B] integers; rows of one label are positives of each other, with equal
            weight. None: only the pair itself is positive.
        negatives: further rows of `b`'s kind [M, E], and a mask [B, M] of those that are no
            negatives of a row of `a`; they count in the direction from `a` to `b`.

    Raises:
        InputError: shapes differ.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise InputError(f"expected two [B, E] tensors, got {list(a.shape)} and {list(b.shape)}")
    logits = scale * a @ b.T
    positive = torch.eye(len(a), dtype=logits.dtype, device=a.device)
    if label_ids is not None:
        positive = (label_ids[:, None] == label_ids[None, :]).to(logits.dtype)
        positive = positive / positive.sum(1, keepdim=True)
    forward = logits
    if negatives is not None:
        rows, excluded = negatives
        others = (scale * a @ rows.T).masked_fill(excluded, -math.inf)
        forward = torch.cat([logits, others], dim=1)
    ahead = (positive * forward.log_softmax(1)[:, : len(a)]).sum(1)
    back = (positive * logits.T.log_softmax(1)).sum(1)
    return -(ahead.mean() + back.mean()) / 2


def gather_rows(tensor: Tensor) -> Tensor:
    """Rows of all workers in rank order [workers·B, …], differentiable; itself on one worker.

    Every worker then computes the same global loss; the backward of the gather sums over
    workers what DDP's averaging divides again, so gradients equal those of one large batch.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return tensor
    return torch.cat(all_gather(tensor.contiguous()), dim=0)

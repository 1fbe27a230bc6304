"""InfoNCE: every embedding tells its target from all others, and every target its embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from vitlens_core.late import torch
from vitlens_core.losses.base import Loss, Pairs


class InfoNce(Loss):
    """Symmetric InfoNCE of unit-norm embeddings, averaged over both directions.

    Positives share one softmax: of one label with equal weight, and all targets of a sample (with
    `positives: all`) with their weights. Further negatives count in the direction from the
    embeddings to the targets: in the other they would be rows without an embedding.
    """

    kind: Literal["info_nce"] = "info_nce"

    def __call__(
        self,
        pairs: Pairs,
        log_scale: torch.Tensor,
        parameters: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        return info_nce(pairs, log_scale.exp())


def info_nce(pairs: Pairs, scale: torch.Tensor | float) -> torch.Tensor:
    """The loss at an inverse temperature `scale`."""
    logits, from_targets = pairs.logits(scale)
    of_embeddings, of_targets = pairs.weights()
    forward = logits
    if pairs.negatives is not None:
        others = scale * pairs.own_embeddings @ pairs.negatives.targets.T
        others = others.masked_fill(pairs.negatives.excluded, -math.inf)
        forward = torch.cat([logits, others], dim=1)
    to_targets = (of_embeddings * forward.log_softmax(1)[:, : len(pairs.targets)]).sum(1)
    to_embeddings = (of_targets * from_targets.log_softmax(1)).sum(1)
    return -(to_targets.mean() + pairs.mean_over_rows(to_embeddings)) / 2

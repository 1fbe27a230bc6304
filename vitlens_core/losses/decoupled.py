"""Decoupled multi-positive InfoNCE: each positive has a softmax of its own, against negatives only.

With several positives (all views or all captions of a sample, samples of one label), InfoNCE lets
them compete: a row that is near one of them lowers the share of the others. Here they do not.

Source: HOLA (arXiv 2606.01334), which holds a sample against all its views and all its captions
(`positives: all`). With one positive per row it is InfoNCE.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from vitlens_core.late import F, torch
from vitlens_core.losses.base import Loss, Pairs

_NOTHING = -1e4  # far below any logit: the logit scale is at most 100


class Decoupled(Loss):
    """Symmetric, averaged over the positives of a row, then over rows and both directions.

    Further negatives count in the direction from the embeddings to the targets.
    """

    kind: Literal["decoupled"] = "decoupled"

    def __call__(
        self,
        pairs: Pairs,
        log_scale: torch.Tensor,
        parameters: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        logits, from_targets = pairs.logits(log_scale.exp())
        (of_embeddings, of_targets), further = pairs.weights(), None
        if pairs.negatives is not None:
            further = log_scale.exp() * pairs.own_embeddings @ pairs.negatives.targets.T
            further = further.masked_fill(pairs.negatives.excluded, -math.inf)
        forward = _direction(logits, of_embeddings, further).mean()
        return (forward + pairs.mean_over_rows(_direction(from_targets, of_targets, None))) / 2


def _direction(
    logits: torch.Tensor, weights: torch.Tensor, further: torch.Tensor | None
) -> torch.Tensor:
    """Weighted mean of -log(e^p / (e^p + sum of e^n)) over the positives p of each line."""
    negatives = logits.masked_fill(weights > 0, -math.inf)
    if further is not None:
        negatives = torch.cat([negatives, further], dim=1)
    # Of a line without any negative this alone is left: a loss of 0, whose gradient is no NaN.
    nothing = logits.new_full((len(logits), 1), _NOTHING)
    against = torch.cat([negatives, nothing], dim=1).logsumexp(1, keepdim=True)
    return (F.softplus(against - logits) * weights).sum(1)

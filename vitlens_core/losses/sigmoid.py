"""SigLIP's loss: every pair of the batch is asked alone whether it belongs together.

Source: arXiv 2303.15343, algorithm 1 and §3.2: scale 10 and bias -10 at the start, both learned;
without the bias the many negatives would dominate the first steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from vitlens_core.late import F, torch
from vitlens_core.losses.base import Loss, Pairs


class Sigmoid(Loss):
    """The pairwise sigmoid loss, summed over targets and averaged over embeddings.

    Pairs of one label are positives, further negatives are negatives like any other. Of several
    targets of a sample each counts with its weight: the mean of the loss over all draws of one.
    """

    max_log_scale = None  # the paper bounds nothing

    kind: Literal["sigmoid"] = "sigmoid"
    initial_scale: float = Field(10.0, gt=0, description="of the logits, if it is learned")
    initial_bias: float = Field(-10.0, description="of the logits; learned")

    @property
    def initial_log_scale(self) -> float:
        return math.log(self.initial_scale)

    def initial_parameters(self) -> dict[str, torch.Tensor]:
        return {"bias": torch.tensor(self.initial_bias)}

    def __call__(
        self,
        pairs: Pairs,
        log_scale: torch.Tensor,
        parameters: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        scaled, bias = log_scale.exp() * pairs.own_embeddings, parameters["bias"]
        logits = scaled @ pairs.targets.T + bias
        # log(1 - sigmoid(x)) is log(sigmoid(-x)).
        said = F.logsigmoid(torch.where(pairs.positives(), logits, -logits))
        said = (said * pairs.target_weights).sum(1)
        if pairs.negatives is not None:
            others = F.logsigmoid(-(scaled @ pairs.negatives.targets.T + bias))
            said = said + others.masked_fill(pairs.negatives.excluded, 0.0).sum(1)
        return -said.mean()

"""What training minimises: a loss against every kind of target that has a weight.

Axes: B rows of a worker, W · B those of all workers, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.lens.batches import Batch
from pipelines.lens.negatives.base import NegativeSampler
from pipelines.lens.not_finite import LossError, diagnose
from pipelines.lens.parallel import gather_rows
from pipelines.lens.settings import TrainConfig
from vitlens_core.losses.base import Pairs


class Objective:
    """The loss of the settings, and what it trains itself.

    Attributes:
        weights: of every kind of target that counts.
        parameters: what the loss trains, by name. Every worker has the whole of them, and finds
            their whole gradient: it computes the loss of all workers' rows.
    """

    def __init__(
        self,
        config: TrainConfig,
        weights: dict[str, float],
        sampler: NegativeSampler | None,
        device: torch.device,
    ) -> None:
        self.loss, self.weights, self.sampler = config.loss, weights, sampler
        self.label_positives = config.label_positives
        initial = self.loss.initial_parameters()
        self.parameters = {name: nn.Parameter(t.to(device)) for name, t in initial.items()}

    def losses(self, embeddings: Tensor, batch: Batch, log_scale: Tensor) -> dict[str, Tensor]:
        """The loss against each kind of target, over the batch of all workers.

        Args:
            embeddings: of this worker's rows [B, E].
        """
        device = embeddings.device
        embeddings = gather_rows(embeddings)
        label_ids = gather_rows(batch.label_ids.to(device)) if self.label_positives else None
        sample_ids = gather_rows(batch.sample_ids.to(device)) if self.sampler else None
        losses = {}
        for kind in self.weights:
            targets = gather_rows(batch.targets[kind].to(device))
            negatives = None
            if self.sampler and sample_ids is not None:
                negatives = self.sampler.sample(kind, targets, sample_ids, label_ids)
            pairs = Pairs(embeddings, targets, label_ids, negatives)
            losses[kind] = self.loss(pairs, log_scale, self.parameters)
        return losses

    def total(
        self, losses: dict[str, Tensor], embeddings: Tensor, batch: Batch, step: int
    ) -> Tensor:
        """The weighted sum.

        Raises:
            LossError: it is not finite; the message names the samples.
        """
        loss = torch.stack([self.weights[kind] * value for kind, value in losses.items()]).sum()
        if not torch.isfinite(loss):
            raise LossError(
                f"the loss is {loss.item()} at step {step}: {diagnose(embeddings, batch)}"
            )
        return loss

    def figures(self, losses: dict[str, float]) -> dict[str, float]:
        """What the curves hold of a step."""
        total = sum(self.weights[kind] * value for kind, value in losses.items())
        return {"loss": total, **{f"loss_{kind}": value for kind, value in losses.items()}}

    @torch.no_grad()
    def validate(self, embeddings: Tensor, targets: Tensor, log_scale: Tensor) -> dict[str, float]:
        """Loss and R@1 of embeddings and targets [N, E] against one kind of target."""
        loss = self.loss(Pairs(embeddings, targets), log_scale, self.parameters)
        # By value: samples of one class may share their text, and any of them is right.
        hits = (targets[(embeddings @ targets.T).argmax(1)] == targets).all(1)
        return {"loss": loss.item(), "r1": hits.float().mean().item()}

"""objective: what training minimises: the weighted losses against each kind of target.

Axes: B rows of a worker, W · B those of all workers, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.lens.batches import Batch
from pipelines.lens.negatives.base import BatchRows, NegativeSampler
from pipelines.lens.not_finite import LossError, diagnose
from pipelines.lens.parallel import gather_rows
from pipelines.lens.settings import TrainConfig
from vitlens_core.losses.base import Pairs


class Objective:
    """The loss of the settings, with the parameters of its own.

    Attributes:
        weights: weight of each kind of target that is trained against.
        parameters: the loss's own parameters, by name. They are whole on every worker and so is
            their gradient, since every worker computes the loss of all workers' rows.
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
        # A neighbour may be in the batch already, and no sample is a negative of itself.
        self.may_repeat = config.hard_negatives is not None
        initial = self.loss.initial_parameters()
        self.parameters = {name: nn.Parameter(t.to(device)) for name, t in initial.items()}

    def losses(self, embeddings: Tensor, batch: Batch, log_scale: Tensor) -> dict[str, Tensor]:
        """Return the loss against each kind of target, over the batch of all workers.

        Args:
            embeddings: those of this worker's rows [B, E].
        """
        device = embeddings.device
        embeddings = gather_rows(embeddings)
        sample_ids = gather_rows(batch.sample_ids.to(device))
        label_ids = gather_rows(batch.label_ids.to(device))
        of_positives = sample_ids if self.may_repeat else None
        if self.label_positives:
            of_positives = label_ids
        losses = {}
        for kind in self.weights:
            targets = gather_rows(batch.targets[kind].to(device))
            negatives = None
            if self.sampler:
                rows = BatchRows(kind, targets, sample_ids, label_ids, self.label_positives)
                negatives = self.sampler.sample(rows)
            pairs = Pairs(embeddings, targets, of_positives, negatives)
            losses[kind] = self.loss(pairs, log_scale, self.parameters)
            if not self.loss.takes_scale:  # workers wait for a gradient of every parameter
                losses[kind] = losses[kind] + 0 * log_scale
        return losses

    def total(
        self, losses: dict[str, Tensor], embeddings: Tensor, batch: Batch, step: int
    ) -> Tensor:
        """Return the weighted sum.

        Raises:
            LossError: the sum is not finite; the message names the samples.
        """
        loss = torch.stack([self.weights[kind] * value for kind, value in losses.items()]).sum()
        if not torch.isfinite(loss):
            raise LossError(
                f"the loss is {loss.item()} at step {step}: {diagnose(embeddings, batch)}"
            )
        return loss

    def figures(self, losses: dict[str, float]) -> dict[str, float]:
        """Return the figures of a step for the curves."""
        total = sum(self.weights[kind] * value for kind, value in losses.items())
        return {"loss": total, **{f"loss_{kind}": value for kind, value in losses.items()}}

    @torch.no_grad()
    def validate(self, embeddings: Tensor, targets: Tensor, log_scale: Tensor) -> dict[str, float]:
        """Return loss and R@1 of embeddings against targets of one kind, both [N, E]."""
        loss = self.loss(Pairs(embeddings, targets), log_scale, self.parameters)
        # Compared by value: samples of one class may share a text, and any of them is right.
        hits = (targets[(embeddings @ targets.T).argmax(1)] == targets).all(1)
        return {"loss": loss.item(), "r1": hits.float().mean().item()}

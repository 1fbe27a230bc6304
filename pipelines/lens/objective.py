"""objective: what training minimises: the weighted losses against each kind of target.

Axes: B rows of a worker, W · B those of all workers, E embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipelines.lens.batches import Batch
from pipelines.lens.chunked_loss import in_chunks
from pipelines.lens.gathered_targets import gather_targets
from pipelines.lens.negatives.base import BatchRows, NegativeSampler
from pipelines.lens.not_finite import LossError, diagnose
from pipelines.lens.parallel import gather_rows, mean_over_workers, shared
from pipelines.lens.settings import TrainConfig
from pipelines.targets.step import TOKENS
from vitlens_core.losses.base import Pairs

_COMPARED = 1024  # rows of the validation split compared with all at a time


class Objective:
    """The loss of the settings, with the parameters of its own.

    Attributes:
        weights: weight of each kind of target that is trained against.
        compared: the kinds that embeddings are compared with.
        parameters: the loss's own parameters, by name. They are whole on every worker, and so is
            their gradient (`parallel.shared`).
    """

    def __init__(
        self,
        config: TrainConfig,
        weights: dict[str, float],
        sampler: NegativeSampler | None,
        device: torch.device,
    ) -> None:
        self.loss, self.weights, self.sampler = config.loss, weights, sampler
        self.compared = [kind for kind in weights if kind != TOKENS]
        self.label_positives = config.label_positives
        # A neighbour may be in the batch already, and no sample is a negative of itself.
        self.may_repeat = config.hard_negatives is not None
        initial = self.loss.initial_parameters()
        self.parameters = {name: nn.Parameter(t.to(device)) for name, t in initial.items()}

    def losses(self, embeddings: Tensor, batch: Batch, log_scale: Tensor) -> dict[str, Tensor]:
        """Return the loss against each compared kind of this worker's rows, among all workers'.

        The mean over workers is the loss of the batch of all workers.

        Args:
            embeddings: those of this worker's rows [B, E].
        """
        device, own_rows = embeddings.device, len(embeddings)
        embeddings = gather_rows(embeddings)
        # A worker alone asks for all rows: it then computes one product for both directions.
        is_alone = len(embeddings) == own_rows
        rows = None if is_alone else slice(batch.rows.start, batch.rows.stop)
        log_scale = shared(log_scale)
        parameters = {name: shared(parameter) for name, parameter in self.parameters.items()}
        sample_ids = gather_rows(batch.sample_ids.to(device))
        label_ids = gather_rows(batch.label_ids.to(device))
        of_positives = sample_ids if self.may_repeat else None
        if self.label_positives:
            of_positives = label_ids
        losses = {}
        for kind in self.compared:
            targets = gather_targets(batch, kind, device)
            negatives = None
            if self.sampler:
                asked = rows or slice(None)
                own = BatchRows(
                    kind, targets.own, sample_ids[asked], label_ids[asked], self.label_positives
                )
                negatives = self.sampler.sample(own)
            pairs = Pairs(
                embeddings, targets.of_all, of_positives, negatives, rows, targets.several
            )
            losses[kind] = in_chunks(self.loss, pairs, log_scale, parameters)
            if not self.loss.takes_scale:  # workers wait for a gradient of every parameter
                losses[kind] = losses[kind] + 0 * log_scale
        return losses

    def differentiate(
        self,
        embeddings: Tensor,
        batch: Batch,
        log_scale: Tensor,
        step: int,
        of_tokens: Tensor | None = None,
    ) -> dict[str, float]:
        """Compute the gradient of the weighted sum, and return the losses over all workers' rows.

        Args:
            of_tokens: the loss of this worker's tokens, if they are trained.

        Raises:
            LossError: the sum is not finite; the message names the samples.
        """
        losses = self.losses(embeddings, batch, log_scale)
        if of_tokens is not None:
            losses[TOKENS] = of_tokens
        # On the device first: each number that is read here would stop a GPU once more.
        of_all = mean_over_workers(torch.stack([*losses.values()])).tolist()
        values = dict(zip(losses, of_all, strict=True))
        total = self.figures(values)["loss"]
        if not math.isfinite(total):
            raise LossError(f"the loss is {total} at step {step}: {diagnose(embeddings, batch)}")
        torch.stack([self.weights[kind] * value for kind, value in losses.items()]).sum().backward()
        return values

    def figures(self, losses: dict[str, float]) -> dict[str, float]:
        """Return the figures of a step for the curves."""
        total = sum(self.weights[kind] * value for kind, value in losses.items())
        return {"loss": total, **{f"loss_{kind}": value for kind, value in losses.items()}}

    @torch.no_grad()
    def validate(self, embeddings: Tensor, targets: Tensor, log_scale: Tensor) -> dict[str, float]:
        """Return loss and R@1 of embeddings against targets of one kind, both [N, E]."""
        loss = in_chunks(self.loss, Pairs(embeddings, targets), log_scale, self.parameters)
        # Compared by value: samples of one class may share a text, and any of them is right.
        nearest = torch.cat([(part @ targets.T).argmax(1) for part in embeddings.split(_COMPARED)])
        hits = (targets[nearest] == targets).all(1)
        return {"loss": loss.item(), "r1": hits.float().mean().item()}

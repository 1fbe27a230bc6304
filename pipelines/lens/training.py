"""training: the training loop of a lens, as every worker runs it (`workers` starts it).

It reads target batches, trains the unlocked parts of the tower with the loss of the settings
against targets gathered over all workers (`objective`), and saves checkpoints. The same code runs
on CPU (gloo) and GPU (nccl), on one worker or many (`parallel`).

A checkpoint has tensors in safetensors (`state_files`), `progress.json` (step,
curves) and, after the last step, `lens.safetensors` (the lens that consumers load). A run resumes
from it exactly, also with another number of workers: data order and augmentation are functions
of (seed, step, row).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.execution.logger import points_of
from pipelines.execution.prefetch import prefetch
from pipelines.foundation.info import read_info
from pipelines.foundation.opening import open_foundation
from pipelines.lens import parallel
from pipelines.lens.batches import Batch, PlannedBatch, TrainingBatches
from pipelines.lens.checkpoints import CheckpointWriter
from pipelines.lens.curves import validation_kind
from pipelines.lens.mixing import mixed
from pipelines.lens.neighbours import Neighbours, read_table
from pipelines.lens.not_finite import LossError, named
from pipelines.lens.objective import Objective
from pipelines.lens.optimizer import (
    build_optimizer,
    learning_rate,
    set_rates,
    trained_parameters,
)
from pipelines.lens.settings import PROGRESS_FILE
from pipelines.lens.shard_table import stable_id
from pipelines.lens.token_loss import token_loss
from pipelines.lens.train_job import Curves, TrainJob, Worker
from pipelines.lens.validation import ValidationSplit
from pipelines.targets.step import TOKENS
from vitlens_core import modalities
from vitlens_core.checkpoint import encode_lens
from vitlens_core.model_files import LENS_FILE
from vitlens_core.models.dropping import Dropping
from vitlens_core.models.tower import build_tower
from vitlens_core.precision import autocast, takes_bf16
from vitlens_core.row_generator import RowGenerator

Entries = Sequence[Mapping[str, float]]  # of a curve


class Trainer:
    """One worker's training: builds the job's objects once, and loops over the steps."""

    def __init__(self, job: TrainJob, worker: Worker) -> None:
        self.job, self.config, self.worker = job, job.train, worker
        self.rank, self.world_size, self.device = worker.rank, worker.world_size, worker.device
        torch.manual_seed(job.train.seed)
        foundation = open_foundation(job.foundation)
        self.foundation = (foundation.spec, read_info(job.foundation).digest)
        self.tower = build_tower(job.tower, foundation.trunk).to(self.device).train()
        # Before sharding; the foundation's own trunk has the digest of the foundation.
        named = job.tower.trunk.model is not None
        self.trunk_digest = self.tower.frozen_digest() if named else None
        self.signal_file = modalities.load_lensed(job.tower.modality).signal_file
        self.signal, self.tokenizer = job.tower.signal_config, job.tower.tokenizer_config
        self.objective = self._build_objective()
        self.validation = self._validation_split()
        self._start_scale()
        bf16 = takes_bf16(job.train.precision, self.device)
        self.model = parallel.parallelize(self.tower, job.resources, bf16=bf16)
        # After sharding, which replaces the tower's parameters.
        of_tower = trained_parameters(self.tower)
        of_loss = {f"loss.{name}": p for name, p in self.objective.parameters.items()}
        self.parameters = of_tower | of_loss
        self.optimizer = build_optimizer(self.parameters, job.train, len(self.tower.trunk.blocks))
        decay = job.train.ema_decay
        self.average = parallel.WeightAverage(of_tower, decay) if decay else None
        # If workers are lost, the others take over their rows. The rows of a forward pass stay as
        # many as with all workers, so that memory still suffices.
        self.rows_per_forward = self.config.rows_per_forward(job.resources.train_workers)
        self.curves = Curves()
        self.checkpoints = CheckpointWriter(worker)
        self.step = 0

    def run(self) -> None:
        """Train to the last step, from the latest checkpoint if there is one.

        Raises:
            LossError: the loss or gradient is not finite; the message names step and samples.
        """
        self._resume()
        with closing(self.batches()) as batches, self.checkpoints:
            while self.step < self.config.steps:
                losses = self._train_step(*next(batches))
                self.step += 1
                self.curves.train.append({"step": self.step, **losses})
                self._report(train=self.curves.train[-1:])
                last = self.step == self.config.steps
                if last or self.step % self.config.validate_every == 0:
                    self._validate()
                if last or self.step % self.config.checkpoint_every == 0:
                    self._checkpoint(last=last)

    def batches(self) -> Generator[tuple[Batch, Tensor]]:
        """Yield this worker's batches from the present step on, with its signals.

        They are prepared on a CPU, and as they are stored on a GPU. The next ones are read in
        threads meanwhile; their number changes no batch.
        """
        batches = TrainingBatches(
            self.job.targets,
            self.signal_file,
            self.objective.weights,
            self.config.batch_size,
            rank=self.rank,
            world_size=self.world_size,
            seed=self.config.seed,
            shuffle_buffer=self.config.shuffle_buffer,
            neighbours=self._neighbours(),
            share=self.config.share,
            mirror_weights=self.config.mirror_weights,
            positives=self.config.loss.positives,
        )
        on_cpu = self.device.type == "cpu"

        def read(planned: tuple[int, PlannedBatch]) -> tuple[Batch, Tensor]:
            step, places = planned
            batch = mixed(batches.read(places), self.config, self.tokenizer, step)
            # On a GPU they are prepared there: in this thread 64 clouds took longer than a step.
            return batch, self._prepare(batch, step) if on_cpu else batch.signals.pin_memory()

        threads = self.job.resources.readers(on_gpu=not on_cpu)
        steps = enumerate(batches.planned(self.step), start=self.step)
        return prefetch(steps, read, threads=threads, ahead=threads + 1)

    def _neighbours(self) -> Neighbours | None:
        settings, path = self.config.hard_negatives, self.job.neighbours
        if settings is None:
            return None
        assert path is not None, "the job writes the table first"
        return Neighbours(read_table(path), settings.group)

    def _train_step(self, batch: Batch, signals: Tensor) -> dict[str, float]:
        rate = learning_rate(self.step, self.config)
        set_rates(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._backward(batch, signals)
        norm = parallel.clip_gradients(self.parameters.values(), self.config.gradient_clip)
        if not math.isfinite(norm):
            raise LossError(
                f"the norm of the gradient is {norm} at step {self.step}, but the loss is finite; "
                "lower lens.train.learning_rate. The samples were "
                f"{named(parallel.gather_objects(batch.keys))}"
            )
        self.optimizer.step()
        self._clamp_scale()
        if self.average:
            self.average.update()
        return {**self.objective.figures(losses), "lr": rate}

    def _backward(self, batch: Batch, signals: Tensor) -> dict[str, float]:
        """Compute the gradient of the batch of all workers, and return its losses.

        If a worker's rows exceed its memory, they are divided into parts (GradCache): all rows
        are embedded without a graph, the loss is differentiated by the embeddings, and each part
        is embedded again and differentiated by itself. Accumulating over parts would show each
        part only its own negatives.
        """
        if self.device.type != "cpu":
            signals = self._prepare(batch, self.step, signals)
        parts = signals.split(self.rows_per_forward)
        targets = batch.targets.get(TOKENS)
        if len(parts) == 1:
            embeddings, of_tokens = self._outputs(signals, self._dropping(batch.rows), targets)
            return self.objective.differentiate(
                embeddings, batch, self.tower.log_scale, self.step, of_tokens
            )
        size = len(parts[0])
        of_parts = [None] * len(parts) if targets is None else targets.split(size)
        # The same rows in both passes lose the same.
        lost = [self._dropping(batch.rows[i : i + size]) for i in range(0, len(batch.rows), size)]
        with torch.no_grad(), _statistics_kept(self.tower):
            found = list(map(self._outputs, parts, lost, of_parts))
        embeddings = torch.cat([own for own, _ in found]).requires_grad_()
        # No row's tokens depend on another's: their gradient is that of each part by itself.
        shares = [len(part) / len(signals) for part in parts]
        of_tokens = _weighted([of_part for _, of_part in found], shares)
        log_scale = self.tower.log_scale.detach().requires_grad_()
        losses = self.objective.differentiate(embeddings, batch, log_scale, self.step, of_tokens)
        assert embeddings.grad is not None
        for number, (part, of_part, slope, aims, share) in enumerate(
            zip(parts, lost, embeddings.grad.split(size), of_parts, shares, strict=True), start=1
        ):
            last = number == len(parts)
            parallel.sync_gradients(self.model, now=last)
            # Its gradient by the weights is the chain rule's: slope is d loss / d embedding.
            own, of_tokens = self._outputs(part, of_part, aims)
            surrogate = (own * slope).sum()
            if of_tokens is not None:
                surrogate = surrogate + self.objective.weights[TOKENS] * share * of_tokens
            if last and log_scale.grad is not None:  # once, as it belongs to no part
                surrogate = surrogate + self.tower.log_scale * log_scale.grad
            surrogate.backward()
        return losses

    def _embed(self, signals: Tensor, dropping: Dropping | None = None) -> Tensor:
        with autocast(self.config.precision, self.device):
            return self.model(signals, dropping).float()

    def _outputs(
        self, signals: Tensor, dropping: Dropping | None, targets: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return embeddings [B, E], and the loss of the tokens if they have targets [B, P+T, W]."""
        if targets is None:
            return self._embed(signals, dropping), None
        with autocast(self.config.precision, self.device):
            embedded, tokens = self.model(signals, dropping, with_tokens=True)
        return embedded.float(), token_loss(tokens.float(), targets.to(self.device))

    def _dropping(self, rows: range) -> Dropping | None:
        """Return what this step leaves out of rows of the batch of all workers."""
        config = self.config
        if not config.token_dropout and not config.drop_path:
            return None
        seeds = [stable_id(f"{config.seed}/dropping/{self.step}/{row}") for row in rows]
        return Dropping(
            torch.tensor(seeds, device=self.device), config.token_dropout, config.drop_path
        )

    def _prepare(self, batch: Batch, step: int, stored: Tensor | None = None) -> Tensor:
        """Prepare signals for the tower at a step, on this worker's device."""
        stored = batch.signals if stored is None else stored
        stored = stored.to(self.device, non_blocking=True)
        if not self.config.augmentation:
            return self.tokenizer.prepare(stored, self.signal)
        # By the row's number among all workers': its variant is the same wherever the row is.
        generator = RowGenerator.of(f"{self.config.seed}/{step}", batch.rows, self.device)
        return self.tokenizer.augment(stored, self.signal, generator)

    def _start_scale(self) -> None:
        """Set the scale to the loss's initial value, or to the fixed temperature."""
        start = self.config.loss.initial_log_scale
        if self.config.temperature is None and start is not None:
            self.tower.log_scale.data.fill_(start)
        self._clamp_scale()

    def _clamp_scale(self) -> None:
        """Keep the scale within the loss's bound, or at the fixed temperature."""
        scale, largest = self.tower.log_scale.data, self.config.loss.max_log_scale
        if self.config.temperature is not None:
            scale.fill_(-math.log(self.config.temperature))
        elif largest is not None:
            scale.clamp_(max=largest)

    @torch.no_grad()
    def _validate(self) -> None:
        """Measure loss and R@1 on the validation split; all workers must call it."""
        if self.validation.is_empty:
            return

        def embedded() -> tuple[Tensor, Tensor]:
            return self.validation.embed(self._embed)

        self.tower.eval()
        embeddings, targets = self._using_average(embedded)
        self.tower.train()
        figures = self.objective.validate(embeddings, targets, self.tower.log_scale)
        self.curves.val.append({"step": self.step, **figures})
        self._report(val=self.curves.val[-1:])

    def _report(self, *, train: Entries = (), val: Entries = ()) -> None:
        if self.rank == 0:
            self.worker.report([*points_of("train", train), *points_of("val", val)])

    def _checkpoint(self, *, last: bool) -> None:
        own = parallel.snapshot(self._state())
        state = self._using_average(lambda: parallel.whole_state(self.tower)) if last else {}
        files: dict[str, bytes] = {}
        if self.rank == 0:
            if last:
                files[LENS_FILE] = encode_lens(
                    state, self.job.tower, *self.foundation, self.trunk_digest
                )
            progress = {"step": self.step, **asdict(self.curves)}
            files[PROGRESS_FILE] = json.dumps(progress).encode()
        self.checkpoints.write(self.step, own, files)

    def _resume(self) -> None:
        with self.worker.latest() as folder:
            if folder is None:
                return
            parallel.load_state(folder, self._state())
            progress = json.loads(Path(folder, PROGRESS_FILE).read_text())
        self.step = progress["step"]
        self.curves = Curves(progress["train"], progress["val"])
        # Points that the kill may have kept from the loggers; each logger drops those it has.
        self._report(**asdict(self.curves))

    def _state(self) -> dict[str, object]:
        """Return the content of a checkpoint, by name; its tensors are loaded in place."""
        state: dict[str, object] = {
            "tower": self.tower.trained_state(),
            "optimizer": parallel.moments(self.parameters, self.optimizer),
        }
        if of_loss := self.objective.parameters:
            state["loss"] = {name: parameter.detach() for name, parameter in of_loss.items()}
        if self.average:
            state["average"] = self.average.weights
        return state

    def _using_average(self, use: Callable[[], parallel.Used]) -> parallel.Used:
        return self.average.with_averaged_weights(use) if self.average else use()

    def _build_objective(self) -> Objective:
        weights = self.config.weights(read_info(self.job.foundation).teachers)
        sampling, sampler = self.config.negatives, None
        if sampling:
            seed = self.config.seed
            compared = [kind for kind in weights if kind != TOKENS]
            sampler = sampling.open(self.job.targets, compared, seed=seed, device=self.device)
        return Objective(self.config, weights, sampler, self.device)

    def _validation_split(self) -> ValidationSplit:
        """Build the validation split; it is compared with one kind of target."""
        return ValidationSplit(
            self.job.targets,
            validation_kind(self.objective.weights),
            self.signal_file,
            lambda stored: self.tokenizer.prepare(stored, self.signal),
            self.rank,
            self.world_size,
            self.device,
        )


def _weighted(values: Sequence[Tensor | None], shares: Sequence[float]) -> Tensor | None:
    """Return the sum of losses by their shares; None if there are none."""
    known = [v * share for v, share in zip(values, shares, strict=True) if v is not None]
    return torch.stack(known).sum() if known else None


@contextmanager
def _statistics_kept(tower: nn.Module) -> Generator[None]:
    """Keep batch norm's running statistics unchanged in the block.

    The rows are embedded a second time, and that pass updates the statistics.
    """
    norms = [m for m in tower.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

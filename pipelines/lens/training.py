"""The training loop of a lens, as every worker runs it (`workers` says who that is).

Reads target batches, trains the tower's unlocked parts by symmetric InfoNCE against image
and text targets with negatives gathered over all workers, and keeps checkpoints. The
same code runs on CPU (gloo) and GPU (nccl), on one worker or many (`parallel`).

Checkpoint: tensors as torch.distributed.checkpoint cuts them, `progress.json` (step, curves)
and, of the last step, `lens.safetensors` (the lens as consumers load it). A run resumes from it
exactly, also with another number of workers: data order and augmentation are functions of
(seed, step, row).
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.execution.prefetch import prefetch
from pipelines.execution.runtime import Resources
from pipelines.foundation.opening import has_teacher, open_foundation
from pipelines.lens import parallel
from pipelines.lens.batches import Batch, TrainingBatches, read_targets
from pipelines.lens.negatives import TargetBank
from pipelines.lens.not_finite import LossError, named, reason
from pipelines.lens.optimizer import build_optimizer, learning_rate, trainable
from pipelines.lens.settings import PROGRESS_FILE, TrainConfig
from pipelines.lens.shard_table import stable_group
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import decode_array
from vitlens_core import modalities
from vitlens_core.checkpoint import encode_lens
from vitlens_core.losses import MAX_LOG_SCALE, gather_rows, info_nce
from vitlens_core.model_files import FOUNDATION_FILE, LENS_FILE
from vitlens_core.models.tower import TowerSettings
from vitlens_core.precision import autocast

_VALIDATED = 4096  # samples, the first ones: all are compared with all, again and again
_VALIDATED_TOGETHER = 16  # samples of a worker


@dataclass(frozen=True)
class TrainJob:
    """What a worker is sent: small, and the same for all."""

    tower: TowerSettings
    train: TrainConfig
    targets: Artifact
    foundation: Artifact
    resources: Resources = field(default_factory=Resources)


@dataclass
class Curves:
    """Loss curves, for the report."""

    train: list[dict[str, float]] = field(default_factory=list)
    val: list[dict[str, float]] = field(default_factory=list)


class Worker(Protocol):
    """One of the processes that train a lens together, as the loop sees it."""

    @property
    def rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...
    @property
    def device(self) -> torch.device: ...

    def show(self, step: int, loss: float) -> None:
        """Tell people how far the first worker is."""
        ...

    def keep(self, step: int, folder: Path) -> None:
        """Store a checkpoint; each worker has a folder with its files of it."""
        ...

    def latest(self) -> AbstractContextManager[Path | None]:
        """The files of the last checkpoint, of all workers, if there is one."""
        ...


class Trainer:
    """One worker's training: the job's objects, built once, and the loop over its steps."""

    def __init__(self, job: TrainJob, worker: Worker) -> None:
        self.job, self.config, self.worker = job, job.train, worker
        self.rank, self.world_size, self.device = worker.rank, worker.world_size, worker.device
        torch.manual_seed(job.train.seed)
        foundation = open_foundation(job.foundation)
        self.foundation = (foundation.spec, job.foundation.read_json(FOUNDATION_FILE)["digest"])
        self.tower = job.tower.build(foundation.trunk).to(self.device).train()
        self._hold_scale()
        self.model = parallel.share(self.tower, job.resources)
        self.optimizer = build_optimizer(self.tower, job.train)
        self.modality = modalities.load(job.tower.modality)
        self.signal = job.tower.signal
        self.weights = job.train.weights(taught=has_teacher(job.foundation))
        self.average = self._build_average()
        self.bank = self._bank()
        # Where workers were lost the others take their rows, but no more of them at a time.
        self.together = self.config.micro_batch or -(
            -self.config.batch_size // max(1, job.resources.train_workers)
        )
        self.curves = Curves()
        self.step = 0

    def run(self) -> None:
        """Train to the last step, from the latest checkpoint if there is one.

        Raises:
            LossError: loss or gradient is not finite; the message names step and samples.
        """
        self._resume()
        with closing(prefetch(self.batches())) as batches:
            while self.step < self.config.steps:
                losses = self._train_step(*next(batches))
                self.step += 1
                self._record(losses)
                last = self.step == self.config.steps
                if last or self.step % self.config.validate_every == 0:
                    self._validate()
                if last or self.step % self.config.checkpoint_every == 0:
                    self._checkpoint(last=last)

    def batches(self) -> Iterator[tuple[Batch, Tensor]]:
        """This worker's batches from the present step on, and each as the tower sees it."""
        read = TrainingBatches(
            self.job.targets,
            self.modality.SIGNAL,
            self.weights,
            self.config.batch_size,
            rank=self.rank,
            world_size=self.world_size,
            seed=self.config.seed,
            shuffle_buffer=self.config.shuffle_buffer,
        ).starting_at(self.step)
        for step, batch in enumerate(read, start=self.step):
            seen = self._seen(batch, step)
            yield batch, seen.pin_memory() if self.device.type == "cuda" else seen

    def _train_step(self, batch: Batch, seen: Tensor) -> dict[str, float]:
        rate = learning_rate(self.step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._backward(batch, seen)
        norm = parallel.clip_gradients(trainable(self.tower), self.config.gradient_clip)
        if not math.isfinite(norm):
            raise LossError(
                f"the gradient's norm is {norm} at step {self.step}, though the loss is finite; "
                "lower lens.train.learning_rate. The samples were "
                f"{named(parallel.gather_objects(batch.keys))}"
            )
        self.optimizer.step()
        self._hold_scale()
        if self.average:
            self.average.update()
        total = sum(self.weights[name] * value for name, value in losses.items())
        return {"loss": total, **{f"loss_{n}": v for n, v in losses.items()}, "lr": rate}

    def _backward(self, batch: Batch, seen: Tensor) -> dict[str, float]:
        """Leave the gradient of the batch of all workers; its losses.

        A worker's rows may exceed its memory. Then their embeddings are computed first, without
        a graph; the loss of all is differentiated by them; and each part is embedded again and
        differentiated alone.
        """
        seen = seen.to(self.device, non_blocking=True)
        parts = seen.split(self.together)
        if len(parts) == 1:
            embeddings = self._embed(seen)
            losses = self._losses(embeddings, batch, self.tower.log_scale)
            self._total(losses, embeddings, batch).backward()
            return {name: value.item() for name, value in losses.items()}
        with torch.no_grad(), _statistics_kept(self.tower):
            embeddings = torch.cat([self._embed(part) for part in parts])
        embeddings.requires_grad_()
        log_scale = self.tower.log_scale.detach().requires_grad_()
        losses = self._losses(embeddings, batch, log_scale)
        self._total(losses, embeddings, batch).backward()
        assert embeddings.grad is not None
        for number, (part, slope) in enumerate(
            zip(parts, embeddings.grad.split(len(parts[0])), strict=True), start=1
        ):
            last = number == len(parts)
            parallel.sync_gradients(self.model, now=last)
            surrogate = (self._embed(part) * slope).sum()
            if last and log_scale.grad is not None:
                surrogate = surrogate + self.tower.log_scale * log_scale.grad
            surrogate.backward()
        return {name: value.item() for name, value in losses.items()}

    def _embed(self, seen: Tensor) -> Tensor:
        with autocast(self.config.precision, self.device):
            return self.model(seen).float()

    def _total(self, losses: dict[str, Tensor], embeddings: Tensor, batch: Batch) -> Tensor:
        """The weighted sum. Raises LossError: it is not finite."""
        loss = torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()
        if not torch.isfinite(loss):
            raise LossError(
                f"the loss is {loss.item()} at step {self.step}: {reason(embeddings, batch)}"
            )
        return loss

    def _seen(self, batch: Batch, step: int) -> Tensor:
        """Stored signals as the tower sees them at a step."""
        if not self.config.augmentation:
            return self.signal.prepare(batch.signals)
        # One by one: the same variant whichever worker a row falls to.
        variants = []
        for row, signal in zip(batch.rows, batch.signals.split(1), strict=True):
            seed = stable_group(f"{self.config.seed}/{step}/{row}") & 0x7FFFFFFFFFFFFFFF
            variants.append(self.signal.augment(signal, torch.Generator().manual_seed(seed)))
        return torch.cat(variants)

    def _hold_scale(self) -> None:
        """Within CLIP's bound, or at the temperature that is fixed."""
        scale = self.tower.log_scale.data
        if self.config.temperature is None:
            scale.clamp_(max=MAX_LOG_SCALE)
        else:
            scale.fill_(-math.log(self.config.temperature))

    def _losses(self, embeddings: Tensor, batch: Batch, log_scale: Tensor) -> dict[str, Tensor]:
        """InfoNCE against each kind of target that has a weight, over all workers' batch."""
        embeddings = gather_rows(embeddings)
        groups = gather_rows(batch.groups.to(self.device)) if self.config.label_positives else None
        owners = gather_rows(batch.owners.to(self.device)) if self.bank else None
        losses = {}
        for name in self.weights:
            paired = gather_rows(batch.targets[name].to(self.device))
            further = None
            if self.bank and owners is not None:
                further = self.bank.negatives(name, paired, owners, groups)
            losses[name] = info_nce(embeddings, paired, log_scale.exp(), groups, further)
        return losses

    @torch.no_grad()
    def _validate(self) -> None:
        """Loss and R@1 against the first kind of target, on the validation split.

        Every worker embeds its share of it, and all must: shards of a tower work together.
        """
        made = self.job.targets
        if not made.shards("val"):
            return
        own, paired = self._using_average(self._embedded_validation)
        loss = info_nce(own, paired, self.tower.log_scale.exp())
        # By value: samples of one class may share their text, and any of them is right.
        hits = (paired[(own @ paired.T).argmax(1)] == paired).all(1)
        self.curves.val.append(
            {"step": self.step, "loss": loss.item(), "r1": hits.float().mean().item()}
        )

    def _embedded_validation(self) -> tuple[Tensor, Tensor]:
        """Embeddings and mean targets [N, E] of samples of the validation split."""
        kind = next(iter(self.weights))
        made = self.job.targets
        stored = (s for path in made.shards("val") for s in made.read(path))
        samples = islice(stored, _VALIDATED)
        own, paired = [], []
        self.tower.eval()
        while rows := list(islice(samples, _VALIDATED_TOGETHER * self.world_size)):
            share = -(-len(rows) // self.world_size)
            # The same number for every worker; what is there twice is cut off again.
            mine = [rows[(self.rank * share + i) % len(rows)] for i in range(share)]
            signals = np.stack([decode_array(sample[self.modality.SIGNAL]) for sample in mine])
            seen = self.signal.prepare(torch.from_numpy(signals)).to(self.device)
            own.append(gather_rows(self._embed(seen))[: len(rows)])
            found = [torch.tensor(read_targets(s, kind)).float().mean(0) for s in rows]
            paired.append(F.normalize(torch.stack(found), dim=-1).to(self.device))
        self.tower.train()
        return torch.cat(own), torch.cat(paired)

    def _record(self, losses: dict[str, float]) -> None:
        self.curves.train.append({"step": self.step, **losses})
        if self.rank == 0:
            self.worker.show(self.step, losses["loss"])

    def _checkpoint(self, *, last: bool) -> None:
        with tempfile.TemporaryDirectory(prefix="vitlens-checkpoint-") as name:
            folder = Path(name)
            parallel.save_state(folder, self.tower, self.optimizer, **self._average_state())
            state = self._using_average(lambda: parallel.whole_state(self.tower)) if last else {}
            if self.rank == 0:
                if last:
                    lens = encode_lens(state, self.job.tower, *self.foundation)
                    Path(folder, LENS_FILE).write_bytes(lens)
                progress = {"step": self.step, **asdict(self.curves)}
                Path(folder, PROGRESS_FILE).write_text(json.dumps(progress))
            self.worker.keep(self.step, folder)

    def _resume(self) -> None:
        with self.worker.latest() as folder:
            if folder is None:
                return
            parallel.load_state(folder, self.tower, self.optimizer, **self._average_state())
            progress = json.loads(Path(folder, PROGRESS_FILE).read_text())
        self.step = progress["step"]
        self.curves = Curves(progress["train"], progress["val"])

    def _build_average(self) -> parallel.WeightAverage | None:
        if self.config.ema_decay is None:
            return None
        named = {n: p for n, p in self.tower.named_parameters() if p.requires_grad}
        return parallel.WeightAverage(named, self.config.ema_decay)

    def _average_state(self) -> dict[str, Any]:
        return {"average": self.average.weights} if self.average else {}

    def _using_average(self, use: Callable[[], Any]) -> Any:
        return self.average.shown(use) if self.average else use()

    def _bank(self) -> TargetBank | None:
        if not self.config.bank:
            return None
        return TargetBank.read(
            self.job.targets,
            self.weights,
            self.config.bank,
            seed=self.config.seed,
            device=self.device,
        )


@contextmanager
def _statistics_kept(tower: nn.Module) -> Generator[None]:
    """Batch norm uses the statistics of what it sees, and remembers nothing of it."""
    norms = [m for m in tower.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

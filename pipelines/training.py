"""The training loop of a lens, as every worker runs it (`workers` says who that is).

Reads target batches, trains the tower's unlocked parts by symmetric InfoNCE against image
and text targets with negatives gathered over all workers, and reports checkpoints. The
same code runs on CPU (gloo) and GPU (nccl), on one worker or many.

Checkpoint: `lens.safetensors` (the lens as consumers load it) and `training.pt` (optimizer,
step, curves), from which a run resumes exactly: data order and augmentation are functions
of (seed, step, row), so also with another number of workers.
"""

from __future__ import annotations

import math
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from pipelines.artifacts import Artifact
from pipelines.batches import Batch, TrainingBatches, read_targets, stable_group
from pipelines.foundation import has_teacher, open_foundation
from pipelines.shard_io import decode_array
from pipelines.train_config import STATE_FILE, TrainConfig, learning_rate
from vitlens_core import modalities
from vitlens_core.checkpoint import LENS_FILE, encode_lens
from vitlens_core.errors import VitlensError
from vitlens_core.losses import MAX_LOG_SCALE, gather_rows, info_nce
from vitlens_core.models.tower import Tower, TowerSettings
from vitlens_core.precision import autocast


@dataclass(frozen=True)
class TrainJob:
    """What a worker is sent: small, and the same for all."""

    tower: TowerSettings
    train: TrainConfig
    targets: Artifact
    foundation: Artifact


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

    def share(self, tower: Tower) -> nn.Module:
        """The tower, with gradients averaged over all workers."""
        ...

    def show(self, step: int, loss: float) -> None:
        """Tell people how far the first worker is."""
        ...

    def keep(self, step: int, folder: Path | None) -> None:
        """Store a checkpoint's files; every worker calls it, only the first has a folder."""
        ...

    def latest(self) -> AbstractContextManager[Path | None]:
        """The last checkpoint's files, if there is one."""
        ...


class Trainer:
    """One worker's training: the job's objects, built once, and the loop over its steps."""

    def __init__(self, job: TrainJob, worker: Worker) -> None:
        self.job, self.config, self.worker = job, job.train, worker
        self.rank, self.world_size, self.device = worker.rank, worker.world_size, worker.device
        torch.manual_seed(job.train.seed)
        foundation = open_foundation(job.foundation)
        self.foundation = (foundation.spec, job.foundation.read_json("foundation.json")["digest"])
        self.tower = job.tower.build(foundation.trunk).to(self.device).train()
        self._hold_scale()
        self.model = worker.share(self.tower)
        self.optimizer = build_optimizer(self.tower, job.train)
        self.modality = modalities.load(job.tower.modality)
        self.signal = job.tower.signal
        self.weights = job.train.weights(taught=has_teacher(job.foundation))
        self.curves = Curves()
        self.step = 0

    def run(self) -> None:
        """Train to the last step, from the latest checkpoint if there is one.

        Raises:
            VitlensError: the loss is not finite; the message names step and samples.
        """
        self._resume()
        batches = TrainingBatches(
            self.job.targets,
            self.modality.SIGNAL,
            self.weights,
            self.config.batch_size,
            rank=self.rank,
            world_size=self.world_size,
            seed=self.config.seed,
            shuffle_buffer=self.config.shuffle_buffer,
        ).starting_at(self.step)
        while self.step < self.config.steps:
            losses = self._train_step(next(batches))
            self.step += 1
            self._record(losses)
            last = self.step == self.config.steps
            if last or self.step % self.config.validate_every == 0:
                self._validate()
            if last or self.step % self.config.checkpoint_every == 0:
                self._checkpoint()

    def _train_step(self, batch: Batch) -> dict[str, float]:
        rate = learning_rate(self.step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with autocast(self.config.precision, self.device):
            embeddings = self.model(self._seen(batch).to(self.device))
        losses = self._losses(embeddings.float(), batch)
        loss = torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()
        if not torch.isfinite(loss):
            raise VitlensError(
                f"the loss is {loss.item()} at step {self.step}, on worker {self.rank}, "
                f"samples {', '.join(batch.keys[:8])}…; lower lens.train.learning_rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trainable(self.tower), self.config.gradient_clip)
        self.optimizer.step()
        self._hold_scale()
        parts = {f"loss_{name}": value.item() for name, value in losses.items()}
        return {"loss": loss.item(), **parts, "lr": rate}

    def _seen(self, batch: Batch) -> Tensor:
        """Stored signals as the tower sees them at this step."""
        if not self.config.augmentation:
            return self.signal.prepare(batch.signals)
        # One by one: the same variant whichever worker a row falls to.
        variants = []
        for row, signal in zip(batch.rows, batch.signals.split(1), strict=True):
            seed = stable_group(f"{self.config.seed}/{self.step}/{row}") & 0x7FFFFFFFFFFFFFFF
            variants.append(self.signal.augment(signal, torch.Generator().manual_seed(seed)))
        return torch.cat(variants)

    def _hold_scale(self) -> None:
        """Within CLIP's bound, or at the temperature that is fixed."""
        scale = self.tower.log_scale.data
        if self.config.temperature is None:
            scale.clamp_(max=MAX_LOG_SCALE)
        else:
            scale.fill_(-math.log(self.config.temperature))

    def _losses(self, embeddings: Tensor, batch: Batch) -> dict[str, Tensor]:
        """InfoNCE against each kind of target that has a weight, over all workers' batch."""
        embeddings = gather_rows(embeddings)
        groups = gather_rows(batch.groups.to(self.device)) if self.config.label_positives else None
        scale = self.tower.log_scale.exp()
        return {
            name: info_nce(
                embeddings, gather_rows(batch.targets[name].to(self.device)), scale, groups
            )
            for name in self.weights
        }

    @torch.inference_mode()
    def _validate(self) -> None:
        """Loss and R@1 against the first kind of target, on the first worker's validation split."""
        if self.rank or not self.job.targets.shards("val"):
            return
        kind = next(iter(self.weights))
        self.tower.eval()
        embeddings, targets = [], []
        for sample in (
            s for path in self.job.targets.shards("val") for s in self.job.targets.read(path)
        ):
            stored = torch.from_numpy(decode_array(sample[self.modality.SIGNAL]))[None]
            embeddings.append(self.tower(self.signal.prepare(stored).to(self.device)))
            found = torch.from_numpy(read_targets(sample, kind)).float()
            targets.append(found.mean(0, keepdim=True))
        self.tower.train()
        own, paired = torch.cat(embeddings).float(), F.normalize(torch.cat(targets), dim=-1)
        paired = paired.to(self.device)
        loss = info_nce(own, paired, self.tower.log_scale.exp())
        # By value: samples of one class may share their text, and any of them is right.
        hits = (paired[(own @ paired.T).argmax(1)] == paired).all(1)
        self.curves.val.append(
            {"step": self.step, "loss": loss.item(), "r1": hits.float().mean().item()}
        )

    def _record(self, losses: dict[str, float]) -> None:
        self.curves.train.append({"step": self.step, **losses})
        if self.rank == 0:
            self.worker.show(self.step, losses["loss"])

    def _checkpoint(self) -> None:
        if self.rank:
            self.worker.keep(self.step, None)
            return
        with tempfile.TemporaryDirectory(prefix="vitlens-checkpoint-") as folder:
            lens = encode_lens(self.tower, self.job.tower, *self.foundation)
            Path(folder, LENS_FILE).write_bytes(lens)
            state = {
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "train": self.curves.train,
                "val": self.curves.val,
            }
            torch.save(state, Path(folder, STATE_FILE))
            self.worker.keep(self.step, Path(folder))

    def _resume(self) -> None:
        with self.worker.latest() as folder:
            if folder is None:
                return
            self.tower.load_trained_state(load_file(folder / LENS_FILE))
            state = torch.load(folder / STATE_FILE, weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.curves = Curves(state["train"], state["val"])


def trainable(tower: nn.Module) -> list[nn.Parameter]:
    return [p for p in tower.parameters() if p.requires_grad]


def build_optimizer(tower: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; no weight decay on parameters of one axis or none."""
    parameters = trainable(tower)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=1e-6)

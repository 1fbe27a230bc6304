"""Training batches from target shards, the same for a given seed, step and worker.

The order is a pure function of (seed, epoch), so that a resumed run continues where it
stopped without any saved state. Shards are split over the workers; samples are mixed
within a buffer.

Axes: B batch of one worker, V views, C captions, E embedding.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor

from pipelines.artifacts import Artifact
from pipelines.cluster import read_record
from pipelines.shard_io import Sample, decode_array, read_shard
from vitlens_core.errors import ConfigError


@dataclass(frozen=True)
class Batch:
    """Stored signals [B, …], one target of every kind each [B, E], groups [B].

    Kinds are `image`, `text` and `teacher`; those that training asked for are here.
    """

    keys: list[str]
    signals: Tensor
    targets: dict[str, Tensor]
    groups: Tensor


class TrainingBatches:
    """Endless batches of one worker's share of the training shards."""

    def __init__(
        self,
        targets: Artifact,
        signal: str,
        kinds: Collection[str],
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        shuffle_buffer: int = 1024,
    ) -> None:
        self.shards = targets.shards("train")
        if len(self.shards) < world_size:
            raise ConfigError(
                f"{len(self.shards)} training shards cannot feed {world_size} workers; "
                "lower objects.objects_per_shard or resources.train_workers"
            )
        names = [path.name.removesuffix(".tar") for path in self.shards]
        self.sizes = [read_record(targets.folder, name).samples for name in names]
        if not sum(self.sizes):
            raise ConfigError("the training split is empty; see the quarantined objects")
        self.signal = signal
        self.kinds = kinds
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size
        self.seed = seed
        self.shuffle_buffer = shuffle_buffer

    def starting_at(self, step: int) -> Iterator[Batch]:
        """Batches from `step` on; those before are skipped without decoding."""
        samples = self._samples(step * self.batch_size)
        for number in count(step):
            rng = random.Random(f"{self.seed}/{number}/{self.rank}")  # noqa: S311
            batch = list(islice(samples, self.batch_size))
            yield collate(batch, self.signal, self.kinds, rng)

    def _samples(self, skip: int) -> Iterator[Sample]:
        for epoch in count():
            order = list(range(len(self.shards)))
            rng = random.Random(f"{self.seed}/{epoch}")  # noqa: S311
            rng.shuffle(order)
            mine = order[self.rank :: self.world_size]
            size = sum(self.sizes[index] for index in mine)
            if skip >= size:
                skip -= size
                continue
            stream = (s for index in mine for s in read_shard(self.shards[index]))
            yield from islice(_mixed(stream, self.shuffle_buffer, rng), skip, None)
            skip = 0


def collate(
    samples: list[Sample], signal: str, kinds: Collection[str], rng: random.Random
) -> Batch:
    """Decode samples and draw one target of every kind for each (one view, one caption).

    Raises:
        ConfigError: a sample without a target of a kind that is trained against.
    """
    labels = [json.loads(s["json"])["label"] or s["__key__"] for s in samples]
    return Batch(
        keys=[s["__key__"] for s in samples],
        signals=torch.from_numpy(np.stack([decode_array(s[signal]) for s in samples])),
        targets={kind: _one_of_each(samples, kind, rng) for kind in kinds},
        groups=torch.tensor([stable_group(label) for label in labels]),
    )


def read_targets(sample: Sample, kind: str) -> np.ndarray:
    """A sample's targets of one kind, [n, E] with n ≥ 1. Raises ConfigError: it has none."""
    data = sample.get(f"{kind}_targets.npy")
    targets = decode_array(data) if data is not None else ()
    if not len(targets):
        raise ConfigError(
            f"sample {sample['__key__']} has no {kind} to be trained against; "
            f"set lens.train.{kind}_weight=0"
        )
    return np.asarray(targets)


def _one_of_each(samples: list[Sample], kind: str, rng: random.Random) -> Tensor:
    """One target of each sample [B, E], drawn."""
    found = [read_targets(sample, kind) for sample in samples]
    return torch.from_numpy(np.stack([f[rng.randrange(len(f))] for f in found])).float()


def stable_group(label: str) -> int:
    """A 64-bit integer for a label, the same on every worker."""
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big", signed=True)


def _mixed(samples: Iterator[Sample], size: int, rng: random.Random) -> Iterator[Sample]:
    """Each sample drawn from a buffer of the next `size`."""
    buffer = list(islice(samples, size))
    for sample in samples:
        index = rng.randrange(len(buffer))
        buffer[index], sample = sample, buffer[index]
        yield sample
    rng.shuffle(buffer)
    yield from buffer

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
from collections.abc import Iterator
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
    """Stored signals [B, …], one image target and one text target each [B, E], groups [B]."""

    keys: list[str]
    signals: Tensor
    image_targets: Tensor
    text_targets: Tensor
    groups: Tensor


class TrainingBatches:
    """Endless batches of one worker's share of the training shards."""

    def __init__(
        self,
        targets: Artifact,
        signal: str,
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
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size
        self.seed = seed
        self.shuffle_buffer = shuffle_buffer

    def starting_at(self, step: int) -> Iterator[Batch]:
        """Batches from `step` on; those before are skipped without decoding."""
        samples = self._samples(step * self.batch_size)
        for number in count(step):
            rng = random.Random(f"{self.seed}/{number}/{self.rank}")  # noqa: S311
            yield collate(list(islice(samples, self.batch_size)), self.signal, rng)

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


def collate(samples: list[Sample], signal: str, rng: random.Random) -> Batch:
    """Decode samples and draw one view and one caption of each."""
    images = [decode_array(s["image_targets.npy"]) for s in samples]
    texts = [decode_array(s["text_targets.npy"]) for s in samples]
    labels = [json.loads(s["json"])["label"] or s["__key__"] for s in samples]
    return Batch(
        keys=[s["__key__"] for s in samples],
        signals=torch.from_numpy(np.stack([decode_array(s[signal]) for s in samples])),
        image_targets=_stacked([i[rng.randrange(len(i))] for i in images]),
        text_targets=_stacked([t[rng.randrange(len(t))] for t in texts]),
        groups=torch.tensor([stable_group(label) for label in labels]),
    )


def stable_group(label: str) -> int:
    """A 64-bit integer for a label, the same on every worker."""
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big", signed=True)


def _stacked(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).float()


def _mixed(samples: Iterator[Sample], size: int, rng: random.Random) -> Iterator[Sample]:
    """Each sample drawn from a buffer of the next `size`."""
    buffer = list(islice(samples, size))
    for sample in samples:
        index = rng.randrange(len(buffer))
        buffer[index], sample = sample, buffer[index]
        yield sample
    rng.shuffle(buffer)
    yield from buffer

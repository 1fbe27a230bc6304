"""Training batches from target shards, the same for a given seed and step.

Nothing is saved to continue: a batch is a function of (seed, step). Nor does it depend on how
many workers there are: each takes its rows of the same batch, so a run may go on with more or
fewer of them. Rows come from *lanes*, endless streams over disjoint shards, each mixed within a
buffer; a worker reads the lanes that its rows come from.

Axes: B rows of one worker, V views, C captions, E embedding.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice

import numpy as np
import torch
from torch import Tensor

from pipelines.artifacts import Artifact
from pipelines.cluster import read_record
from pipelines.shard_io import Sample, decode_array
from vitlens_core.errors import ConfigError

_MOST_LANES = 64
_SHARDS_PER_LANE = 8  # with fewer, lanes would hold unequal shares of the samples


@dataclass(frozen=True)
class Batch:
    """Stored signals [B, …], one target of every kind each [B, E], labels and samples [B].

    Kinds are `image`, `text` and `teacher`; those that training asked for are here. `rows` are
    the numbers of these samples in the batch of all workers.
    """

    rows: range
    keys: list[str]
    signals: Tensor
    targets: dict[str, Tensor]
    groups: Tensor
    owners: Tensor


class TrainingBatches:
    """Endless batches over the training shards: one worker's rows of each."""

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
        """`batch_size` is of all workers; what does not divide over them is left out."""
        self.targets = targets
        self.shards = targets.shards("train")
        names = [path.name.removesuffix(".tar") for path in self.shards]
        self.sizes = [read_record(targets.folder, name).samples for name in names]
        if not sum(self.sizes):
            raise ConfigError("the training split is empty; see the quarantined samples")
        self.signal = signal
        self.kinds = kinds
        self.lanes = lane_count(len(self.shards), batch_size)
        self.per_lane = batch_size // self.lanes
        size = batch_size // world_size
        self.rows = range(rank * size, (rank + 1) * size)
        self.seed = seed
        self.shuffle_buffer = shuffle_buffer

    def starting_at(self, step: int) -> Iterator[Batch]:
        """Batches from `step` on; samples before are skipped without decoding."""
        first, last = self.rows[0] // self.per_lane, self.rows[-1] // self.per_lane
        lanes = [self._lane(n, step * self.per_lane) for n in range(first, last + 1)]
        before = self.rows[0] - first * self.per_lane
        for number in count(step):
            read = chain.from_iterable([islice(lane, self.per_lane) for lane in lanes])
            mine = list(islice(read, before, before + len(self.rows)))
            for _ in read:  # rows of the next worker
                pass
            draws = [random.Random(f"{self.seed}/{number}/{row}") for row in self.rows]  # noqa: S311
            yield collate(mine, self.signal, self.kinds, draws, self.rows)

    def _lane(self, lane: int, skip: int) -> Iterator[Sample]:
        for epoch in count():
            order = list(range(len(self.shards)))
            random.Random(f"{self.seed}/{epoch}").shuffle(order)  # noqa: S311
            mine = order[lane :: self.lanes]
            size = sum(self.sizes[index] for index in mine)
            if skip >= size:
                skip -= size
                continue
            rng = random.Random(f"{self.seed}/{epoch}/{lane}")  # noqa: S311
            stream = (s for index in mine for s in self.targets.read(self.shards[index]))
            yield from islice(_mixed(stream, self.shuffle_buffer, rng), skip, None)
            skip = 0


def lane_count(shards: int, batch_size: int) -> int:
    """Streams that batches are read from: a power of two that divides the batch."""
    lanes = 1
    while (
        lanes < _MOST_LANES
        and batch_size % (lanes * 2) == 0
        and shards >= lanes * 2 * _SHARDS_PER_LANE
    ):
        lanes *= 2
    return lanes


def collate(
    samples: list[Sample],
    signal: str,
    kinds: Collection[str],
    draws: Sequence[random.Random],
    rows: range,
) -> Batch:
    """Decode samples and draw one target of every kind for each (one view, one caption).

    Args:
        draws: what each sample's targets are drawn by.

    Raises:
        ConfigError: a sample without a target of a kind that is trained against.
    """
    return Batch(
        rows=rows,
        keys=[s["__key__"] for s in samples],
        signals=torch.from_numpy(np.stack([decode_array(s[signal]) for s in samples])),
        targets={kind: _one_of_each(samples, kind, draws) for kind in kinds},
        groups=torch.tensor([stable_group(label_of(s)) for s in samples]),
        owners=torch.tensor([stable_group(s["__key__"]) for s in samples]),
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


def draw_target(sample: Sample, kind: str, rng: random.Random) -> np.ndarray:
    """One of a sample's targets of a kind, [E] (`ConfigError`: it has none)."""
    found = read_targets(sample, kind)
    return found[rng.randrange(len(found))]


def label_of(sample: Sample) -> str:
    """A sample's label; one without any stands for itself."""
    return json.loads(sample["json"])["label"] or sample["__key__"]


def _one_of_each(samples: list[Sample], kind: str, draws: Sequence[random.Random]) -> Tensor:
    """One target of each sample [B, E], drawn."""
    drawn = [draw_target(s, kind, rng) for s, rng in zip(samples, draws, strict=True)]
    return torch.from_numpy(np.stack(drawn)).float()


def stable_group(label: str) -> int:
    """A 64-bit integer for a label or a key, the same on every worker."""
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

"""Training batches from target shards, the same for a given seed and step.

Nothing is saved to continue: a batch is a function of (seed, step). Nor does it depend on how
many workers there are: each takes its rows of the same batch, so a run may go on with more or
fewer of them. Rows come from *lanes*, endless streams over disjoint shards, each mixed within a
buffer; a worker reads the lanes that its rows come from. What is mixed are the places of samples:
they are read once their batch is due, so that nothing is read to find the place in an epoch.

Axes: B rows of one worker, V views, C captions, E embedding.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice

import numpy as np
import torch
from torch import Tensor

from pipelines.execution.bulk import read_record
from pipelines.lens.shard_table import RowBuffer, SamplePlace, TrainingShard, missing_target
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import targets_file
from vitlens_core.errors import ConfigError, IntegrityError

_MOST_LANES = 64
_SHARDS_PER_LANE = 8  # with fewer, lanes would hold unequal shares of the samples


@dataclass(frozen=True)
class Batch:
    """Stored signals [B, …], one target of every kind each [B, E], ids of labels and samples [B].

    Kinds are `image`, `text` and `teacher`; those that training asked for are here. `rows` are
    the numbers of these samples in the batch of all workers.
    """

    rows: range
    keys: list[str]
    signals: Tensor
    targets: dict[str, Tensor]
    label_ids: Tensor
    sample_ids: Tensor


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
        shards = targets.shards("train")
        names = [path.name.removesuffix(".tar") for path in shards]
        self.sizes = [read_record(targets.folder, name).samples for name in names]
        wanted = [signal, *map(targets_file, kinds)]
        self.shards = [
            TrainingShard(targets, path, size, wanted)
            for path, size in zip(shards, self.sizes, strict=True)
        ]
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
        """Batches from `step` on; samples before are not read."""
        first, last = self.rows[0] // self.per_lane, self.rows[-1] // self.per_lane
        lanes = [self._lane(n, step * self.per_lane) for n in range(first, last + 1)]
        before = self.rows[0] - first * self.per_lane
        for number in count(step):
            read = chain.from_iterable([islice(lane, self.per_lane) for lane in lanes])
            mine = list(islice(read, before, before + len(self.rows)))
            for _ in read:  # rows of the next worker
                pass
            yield collate(mine, self.signal, self.kinds, f"{self.seed}/{number}", self.rows)

    def _lane(self, lane: int, skip: int) -> Iterator[SamplePlace]:
        for epoch in count():
            order = list(range(len(self.shards)))
            random.Random(f"{self.seed}/{epoch}").shuffle(order)  # noqa: S311
            mine = order[lane :: self.lanes]
            size = sum(self.sizes[index] for index in mine)
            if skip >= size:
                skip -= size
                continue
            rng = random.Random(f"{self.seed}/{epoch}/{lane}")  # noqa: S311
            stream = (
                SamplePlace(shard, number)
                for index in mine
                for shard in [self.shards[index].opened()]
                for number in range(self.sizes[index])
            )
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
    places: Sequence[SamplePlace], signal: str, kinds: Collection[str], seed: str, rows: range
) -> Batch:
    """Read samples and draw one target of every kind for each (one view, one caption).

    Args:
        seed: what targets are drawn by, together with a sample's row.

    Raises:
        ConfigError: a sample without a target of a kind that is trained against.
    """
    for place in places:
        place.check()
    tables = [place.shard.table for place in places]
    known = [(table, place.number) for table, place in zip(tables, places, strict=True)]
    return Batch(
        rows=rows,
        keys=[table.keys[number] for table, number in known],
        signals=torch.from_numpy(_signals(places, signal)),
        targets={
            kind: torch.from_numpy(drawn).float()
            for kind, drawn in _targets(places, kinds, seed, rows).items()
        },
        label_ids=torch.tensor([table.label_ids[number] for table, number in known]),
        sample_ids=torch.tensor([table.sample_ids[number] for table, number in known]),
    )


def _signals(places: Sequence[SamplePlace], signal: str) -> np.ndarray:
    """The samples' signals [B, …]."""
    buffer = None
    for row, place in enumerate(places):
        found = place.shard.table.arrays[signal][place.number]
        if found is None:
            key = place.shard.table.keys[place.number]
            raise IntegrityError(f"{place.shard.tar.path}: sample {key} has no {signal}")
        buffer = buffer or RowBuffer(len(places), found.dtype, found.shape)
        buffer.fill(row, place, found)
    assert buffer is not None
    return buffer.array


def _targets(
    places: Sequence[SamplePlace], kinds: Collection[str], seed: str, rows: range
) -> dict[str, np.ndarray]:
    """One target of every kind for each sample [B, E], drawn."""
    buffers: dict[str, RowBuffer] = {}
    files = {kind: targets_file(kind) for kind in kinds}
    rng = random.Random()  # noqa: S311
    for row, place in enumerate(places):
        table = place.shard.table
        rng.seed(f"{seed}/{rows[row]}")
        for kind, file in files.items():
            found = table.arrays[file][place.number]
            if found is None or not found.shape[0]:
                raise missing_target(table.keys[place.number], kind)
            if kind not in buffers:
                buffers[kind] = RowBuffer(len(places), found.dtype, found.shape[1:])
            buffers[kind].fill(row, place, found, rng.randrange(found.shape[0]))
    return {kind: buffer.array for kind, buffer in buffers.items()}


def _mixed(samples: Iterator[SamplePlace], size: int, rng: random.Random) -> Iterator[SamplePlace]:
    """Each sample drawn from a buffer of the next `size`."""
    buffer = list(islice(samples, size))
    for sample in samples:
        index = rng.randrange(len(buffer))
        buffer[index], sample = sample, buffer[index]
        yield sample
    rng.shuffle(buffer)
    yield from buffer

"""batches: makes training batches from target shards, the same for a given seed and step.

A batch is a function of (seed, step), so nothing is saved to resume a run. It does not depend on
the number of workers either: each takes its rows of the same batch, so a run may continue with
more or fewer workers. Rows come from *lanes*, endless streams over disjoint shards, each shuffled
within a buffer; a worker reads the lanes that its rows come from. The buffer holds the places of
samples, which are read when their batch is due; so a resumed run skips samples without reading.

Axes: B rows of one worker, K most targets of a kind that one of them has, E embedding.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, islice

import numpy as np
import torch
from torch import Tensor

from pipelines.execution.shard_tasks import shard_sizes
from pipelines.lens.draws import MirrorShares
from pipelines.lens.neighbours import Neighbours
from pipelines.lens.shard_table import RowBuffer, SamplePlace, TrainingShard
from pipelines.lens.target_arrays import all_targets, draw_targets
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import targets_file
from pipelines.targets.stored import as_floats
from vitlens_core.errors import ConfigError, IntegrityError
from vitlens_core.losses.base import Positives

# Not a function of the workers, so that batches are none. Where there are more workers than lanes,
# those that share a lane each read its shards: hence many.
_MOST_LANES = 4096
_SHARDS_PER_LANE = 8  # with fewer, lanes would have unequal shares of the samples


@dataclass(frozen=True)
class Batch:
    """Stored signals [B, …], targets of every kind, label and sample ids [B].

    Attributes:
        rows: the numbers of these samples in the batch of all workers.
        targets: of the kinds (`image`, `text`, `teacher_<name>`) that are trained against: one of
            each sample [B, E], or all [B, K, E].
        weights: of all targets of a sample, by kind [B, K]; they sum to 1, and are 0 where a sample
            has fewer. Empty if one is drawn.
    """

    rows: range
    keys: list[str]
    signals: Tensor
    targets: dict[str, Tensor]
    label_ids: Tensor
    sample_ids: Tensor
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedBatch:
    """Where the samples of a batch lie, and the seed of what is drawn for them."""

    places: Sequence[SamplePlace]
    seed: str


class TrainingBatches:
    """Endless batches over the training shards, each with one worker's rows."""

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
        neighbours: Neighbours | None = None,
        share: float = 1.0,
        mirror_weights: Mapping[str, float] | None = None,
        positives: Positives = "drawn",
    ) -> None:
        """`batch_size` is that of all workers; a remainder of its division is left out.

        Args:
            neighbours: draws the rest of each group; without it a group is one sample.
            share: of the samples of every shard that are read, its first ones. Shards are ordered
                by the hash of the keys, so that these are a draw, and those of a smaller share are
                among those of a larger one.
            mirror_weights: how often samples of a mirror are drawn, where those of others have 1.
            positives: whether one target of every kind is drawn for a sample, or all are read.

        Raises:
            ConfigError: nothing is trained on, or the groups do not divide over the workers.
        """
        shards = targets.shards("train")
        whole = shard_sizes(targets, "train")
        self.sizes = [max(min(size, 1), round(share * size)) for size in whole]
        wanted = [signal, *map(targets_file, kinds)]
        self.shards = [
            TrainingShard(targets, path, size, wanted)
            for path, size in zip(shards, whole, strict=True)
        ]
        if not sum(self.sizes):
            raise ConfigError("the training split is empty; see the quarantined samples")
        self.signal = signal
        self.kinds = kinds
        self.neighbours = neighbours
        self.group = group = neighbours.group if neighbours else 1
        # Lanes give the first sample of every group.
        self.lanes = lane_count(len(self.shards), batch_size // group)
        self.per_lane = batch_size // group // self.lanes
        size = batch_size // world_size
        if size % group:
            raise ConfigError(
                f"lens.train.hard_negatives: {size} samples of a worker do not divide into groups "
                f"of {group}; change batch_size or the number of workers"
            )
        self.rows = range(rank * size, (rank + 1) * size)
        self.seed = seed
        self.mirror_shares = MirrorShares(mirror_weights or {}, seed)
        self.shuffle_buffer = shuffle_buffer
        self.positives: Positives = positives

    def starting_at(self, step: int) -> Iterator[Batch]:
        """Yield the batches from `step` on; earlier samples are not read."""
        return map(self.read, self.planned(step))

    def read(self, planned: PlannedBatch) -> Batch:
        """Read a batch; several threads may read different ones (errors: as `collate`)."""
        return collate(
            planned.places, self.signal, self.kinds, planned.seed, self.rows, self.positives
        )

    def planned(self, step: int) -> Iterator[PlannedBatch]:
        """Yield the batches from `step` on before they are read."""
        groups = range(self.rows.start // self.group, self.rows.stop // self.group)
        first, last = groups[0] // self.per_lane, groups[-1] // self.per_lane
        lanes = [self._lane(n, step * self.per_lane) for n in range(first, last + 1)]
        before = groups[0] - first * self.per_lane
        for number in count(step):
            read = chain.from_iterable([islice(lane, self.per_lane) for lane in lanes])
            mine = list(islice(read, before, before + len(groups)))
            for _ in read:  # the lane's other rows are the next worker's: skip them here
                pass
            if self.neighbours:
                seeds = [f"{self.seed}/{number}/{group}" for group in groups]
                mine = self.neighbours.joined(mine, self.shards, seeds)
            yield PlannedBatch(mine, f"{self.seed}/{number}")

    def _lane(self, lane: int, skip: int) -> Iterator[SamplePlace]:
        for epoch in count():
            order = list(range(len(self.shards)))
            random.Random(f"{self.seed}/{epoch}").shuffle(order)  # noqa: S311
            of_lane = order[lane :: self.lanes]
            size = self._size(of_lane, epoch)
            if skip >= size:
                skip -= size
                continue
            rng = random.Random(f"{self.seed}/{epoch}/{lane}")  # noqa: S311
            stream = self._stream(of_lane, epoch)
            yield from islice(_mixed(stream, self.shuffle_buffer, rng), skip, None)
            skip = 0

    def _size(self, shards: Sequence[int], epoch: int) -> int:
        """Count the samples that some shards give in an epoch."""
        if not self.mirror_shares:
            return sum(self.sizes[index] for index in shards)
        return sum(1 for _ in self._stream(shards, epoch))

    def _stream(self, shards: Sequence[int], epoch: int) -> Iterator[SamplePlace]:
        for index in shards:
            shard = self.shards[index].opened()
            for number in range(self.sizes[index]):
                if not self.mirror_shares or self.mirror_shares.keeps(
                    shard.table.mirrors[number], shard.table.keys[number], epoch
                ):
                    yield SamplePlace(shard, number)


def lane_count(shards: int, batch_size: int) -> int:
    """Return the number of lanes: a power of two that divides the batch."""
    lanes = 1
    while (
        lanes < _MOST_LANES
        and batch_size % (lanes * 2) == 0
        and shards >= lanes * 2 * _SHARDS_PER_LANE
    ):
        lanes *= 2
    return lanes


def collate(
    places: Sequence[SamplePlace],
    signal: str,
    kinds: Collection[str],
    seed: str,
    rows: range,
    positives: Positives = "drawn",
) -> Batch:
    """Read samples, with one drawn target of every kind for each (one view, one caption) or all.

    Args:
        seed: decides, together with a sample's row, which targets are drawn.

    Raises:
        ConfigError: a sample has no target of a kind that is trained against.
    """
    for place in places:
        place.check()
    tables = [place.shard.table for place in places]
    known = [(table, place.number) for table, place in zip(tables, places, strict=True)]
    if positives == "drawn":
        drawn = draw_targets(places, kinds, seed, rows).items()
        targets, weights = {kind: as_floats(stored) for kind, stored in drawn}, {}
    else:
        every = {kind: all_targets(places, kind) for kind in kinds}
        targets = {kind: as_floats(stored) for kind, (stored, _) in every.items()}
        weights = {kind: torch.from_numpy(of_kind) for kind, (_, of_kind) in every.items()}
    return Batch(
        rows=rows,
        keys=[table.keys[number] for table, number in known],
        signals=torch.from_numpy(_signals(places, signal)),
        targets=targets,
        label_ids=torch.tensor([table.label_ids[number] for table, number in known]),
        sample_ids=torch.tensor([table.sample_ids[number] for table, number in known]),
        weights=weights,
    )


def _signals(places: Sequence[SamplePlace], signal: str) -> np.ndarray:
    """Read the samples' signals [B, …]."""
    buffer = None
    for row, place in enumerate(places):
        array = place.shard.table.arrays[signal][place.number]
        if array is None:
            key = place.shard.table.keys[place.number]
            raise IntegrityError(f"{place.shard.tar.path}: sample {key} has no {signal}")
        buffer = buffer or RowBuffer(len(places), array.dtype, array.shape)
        buffer.fill(row, place, array)
    assert buffer is not None
    return buffer.array


def _mixed(samples: Iterator[SamplePlace], size: int, rng: random.Random) -> Iterator[SamplePlace]:
    """Shuffle a stream: draw each sample from a buffer of the next `size`."""
    buffer = list(islice(samples, size))
    for sample in samples:
        index = rng.randrange(len(buffer))
        buffer[index], sample = sample, buffer[index]
        yield sample
    rng.shuffle(buffer)
    yield from buffer

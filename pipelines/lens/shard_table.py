"""shard_table: reads the arrays of a training shard straight into the rows of a batch.

Reads     a target shard: once as a whole to make its table, then single arrays of samples.
Promises  no array is copied twice, and no header is parsed again in a later epoch; with
          `verify_reads` every sample is compared with its checksum whenever it is read.

A table takes some 150 bytes per sample.
"""

from __future__ import annotations

import hashlib
import random
import sys
import threading
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from upath import UPath

from pipelines.lens.draws import DrawWeights, weights_of
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import (
    ArrayPlace,
    ArrayPlaces,
    OpenShard,
    Sample,
    targets_file,
)
from pipelines.targets.step import OF_FOUNDATION, weight_of
from pipelines.targets.stored import decode_targets
from vitlens_core.errors import ConfigError, IntegrityError


@dataclass(frozen=True)
class ShardTable:
    """The keys of a shard's samples, the ids of keys and labels, and the places of the arrays."""

    keys: list[str]
    sample_ids: array[int]
    label_ids: array[int]
    arrays: dict[str, ArrayPlaces]
    weights: Mapping[str, DrawWeights]
    mirrors: list[str]

    def drawn(self, kind: str, number: int, count: int, rng: random.Random) -> int:
        """Draw one of the `count` targets of a kind of sample `number`."""
        if kind not in self.weights:
            return rng.randrange(count)
        return self.weights[kind].drawn(number, count, rng)

    def shares(self, kind: str, number: int, count: int) -> Sequence[float]:
        """Return how likely each of the `count` targets of sample `number` is to be drawn."""
        if kind not in self.weights:
            return [1 / count] * count
        return self.weights[kind].shares(number, count)


class TrainingShard:
    """One shard, with the table that is kept from epoch to epoch."""

    def __init__(self, targets: Artifact, path: UPath, size: int, wanted: Collection[str]) -> None:
        """`wanted` are the extensions of the arrays to read; `size` is the number of samples."""
        self.targets = targets
        self.path = path
        self.size = size
        self._wanted = wanted
        self._table: ShardTable | None = None
        self._lock = threading.Lock()  # of batches read at a time, one makes the table

    def opened(self) -> TrainingShardReader:
        return TrainingShardReader(self)

    def table_of(self, tar: OpenShard) -> ShardTable:
        """Return the table; it is made at the first call (`IntegrityError`: a damaged shard)."""
        with self._lock:
            return self._made_once(tar)

    def _made_once(self, tar: OpenShard) -> ShardTable:
        if self._table is None:
            if len(tar) != self.size:
                raise IntegrityError(
                    f"{self.path}: found {len(tar)} samples, {self.size} were written"
                )
            infos = [SampleInfo.of(tar.read(number, ["json"])) for number in range(self.size)]
            labels = [info.label or key for info, key in zip(infos, tar.keys, strict=True)]
            self._table = ShardTable(
                tar.keys,
                array("q", map(stable_id, tar.keys)),
                array("q", map(stable_id, labels)),
                {name: tar.array_places(name) for name in self._wanted},
                weights_of(infos, OF_FOUNDATION),
                [sys.intern(info.mirror) for info in infos],
            )
        return self._table


class TrainingShardReader:
    """A shard within one epoch: opened for its first sample, closed after its last."""

    def __init__(self, shard: TrainingShard) -> None:
        self.source = shard

    @cached_property
    def tar(self) -> OpenShard:
        return self.source.targets.open_shard(self.source.path)

    @cached_property
    def table(self) -> ShardTable:
        return self.source.table_of(self.tar)


class SamplePlace(NamedTuple):
    """The place of a sample that has not been read yet."""

    shard: TrainingShardReader
    number: int

    def check(self) -> None:
        """Compare the sample with its checksum if reads are verified (`IntegrityError`)."""
        self.shard.tar.check(self.number)


def missing_target(key: str, kind: str) -> ConfigError:
    return ConfigError(
        f"sample {key} has no {kind} to train against; set lens.train.{weight_of(kind)}=0"
    )


def label_of(sample: Sample) -> str:
    """Return a sample's label; without a label, its key, so that it is a class of its own."""
    return SampleInfo.of(sample).label or sample["__key__"]


def read_targets(sample: Sample, kind: str) -> np.ndarray:
    """Read a sample's targets of a kind, fp32 [n, E] with n ≥ 1 (`ConfigError`: it has none)."""
    data = sample.get(targets_file(kind))
    targets = decode_targets(data) if data is not None else ()
    if not len(targets):
        raise missing_target(sample["__key__"], kind)
    return np.asarray(targets)


def draw_target(sample: Sample, kind: str, rng: random.Random) -> np.ndarray:
    """Draw one of a sample's targets of a kind, [E] (`ConfigError`: it has none)."""
    targets = read_targets(sample, kind)
    weights = weights_of([SampleInfo.of(sample)], [kind])[kind]
    return targets[weights.drawn(0, len(targets), rng)]


def stable_id(label: str) -> int:
    """Return a 64-bit integer for a label or key, the same on every worker.

    Python's `hash` of a string differs between processes.
    """
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big", signed=True)


class RowBuffer:
    """Arrays of one type and shape, stacked [B, …]; each is read straight into its row."""

    def __init__(self, rows: int, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.array = np.empty((rows, *shape), dtype)
        self._bytes = self.array.reshape(-1).view(np.uint8).data
        self._row_bytes = self.array.nbytes // rows
        self._like = dtype, shape

    def fill(
        self, row: int, place: SamplePlace, array: ArrayPlace, item: int | None = None
    ) -> None:
        """Read a sample's array, or one item along its first axis, into `row`.

        Raises:
            ValueError: its type or shape differs from that of the other rows.
        """
        self._check(place, array.dtype, array.shape if item is None else array.shape[1:])
        self._read(row, place, array.start + (item or 0) * self._row_bytes, 1)

    def fill_items(self, row: int, place: SamplePlace, array: ArrayPlace) -> None:
        """Read all items of a sample's array along its first axis, into the rows from `row` on.

        Raises:
            ValueError: their type or shape differs from that of the other rows.
        """
        self._check(place, array.dtype, array.shape[1:])
        self._read(row, place, array.start, array.shape[0])

    def _check(self, place: SamplePlace, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        if (dtype, shape) != self._like:
            key, (expected, others) = place.shard.table.keys[place.number], self._like
            raise ValueError(
                f"{place.shard.tar.path}: an array of sample {key} is {dtype} {shape}, "
                f"but the others of the batch are {expected} {others}"
            )

    def _read(self, row: int, place: SamplePlace, start: int, count: int) -> None:
        first, size = row * self._row_bytes, count * self._row_bytes
        place.shard.tar.read_into(start, self._bytes[first : first + size])

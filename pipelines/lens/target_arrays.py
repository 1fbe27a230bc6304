"""target_arrays: reads the targets of a batch from its shards: one drawn of each sample, or all.

Axes: B samples of a batch, K most targets of a kind that one of them has, E embedding.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import numpy as np

from pipelines.lens.shard_table import RowBuffer, SamplePlace, missing_target
from pipelines.store.shards import ArrayPlace, targets_file


def draw_targets(
    places: Sequence[SamplePlace], kinds: Collection[str], seed: str, rows: range
) -> dict[str, np.ndarray]:
    """Draw one target of every kind for each sample [B, E].

    Args:
        rows: numbers of the samples in the batch of all workers; with the seed they decide.

    Raises:
        ConfigError: a sample has no target of a kind.
    """
    buffers: dict[str, RowBuffer] = {}
    rng = random.Random()  # noqa: S311
    for row, place in enumerate(places):
        # By the row's number in the whole batch: the draw is the same on whichever worker.
        rng.seed(f"{seed}/{rows[row]}")
        for kind in kinds:
            array = _array(place, kind)
            if kind not in buffers:
                buffers[kind] = RowBuffer(len(places), array.dtype, array.shape[1:])
            item = place.shard.table.drawn(kind, place.number, array.shape[0], rng)
            buffers[kind].fill(row, place, array, item)
    return {kind: buffer.array for kind, buffer in buffers.items()}


def all_targets(places: Sequence[SamplePlace], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Read all targets of a kind [B, K, E], and the chance of each to be drawn [B, K] fp32.

    Both are 0 where a sample has fewer than K.

    Raises:
        ConfigError: a sample has no target of the kind.
    """
    arrays = [_array(place, kind) for place in places]
    most, width = max(array.shape[0] for array in arrays), arrays[0].shape[1:]
    buffer = RowBuffer(len(places) * most, arrays[0].dtype, width)
    shares = np.zeros((len(places), most), np.float32)
    for row, (place, array) in enumerate(zip(places, arrays, strict=True)):
        count, first = array.shape[0], row * most
        buffer.fill_items(first, place, array)
        buffer.array[first + count : first + most] = 0
        shares[row, :count] = place.shard.table.shares(kind, place.number, count)
    return buffer.array.reshape(len(places), most, *width), shares


def _array(place: SamplePlace, kind: str) -> ArrayPlace:
    table = place.shard.table
    array = table.arrays[targets_file(kind)][place.number]
    if array is None or not array.shape[0]:
        raise missing_target(table.keys[place.number], kind)
    return array

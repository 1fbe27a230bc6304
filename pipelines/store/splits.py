"""splits: the splits of a data set, and how each is ordered and cut into shards.

Promises  an order that mixes the classes and depends only on names and seed; some 100 bytes of
          memory per name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, get_args

import numpy as np

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_BLOCK = 1 << 14  # names in memory as Python strings at a time


def ranked(names: Iterable[str], seed: int, purpose: str) -> list[str]:
    """Return the names in an order that seed and purpose decide, the same on every machine."""
    names = list(names)
    return [names[index] for index in hash_order(f"{seed}/{purpose}/{name}" for name in names)]


def hash_order(names: Iterable[str]) -> np.ndarray:
    """Return the indices that sort names by their SHA-256."""
    hashes = (hashlib.sha256(name.encode()).digest() for name in names)
    return np.argsort(np.fromiter(hashes, dtype="S32"), kind="stable")


def pack(names: Iterable[str]) -> np.ndarray:
    """Return the names as UTF-8 in one array as wide as the longest name.

    It takes a third of the memory of strings.
    """
    names = iter(names)
    blocks = [np.empty(0, "S1")]
    while block := [name.encode() for name in islice(names, _BLOCK)]:
        blocks.append(np.array(block))
    return np.concatenate(blocks)


def cut_into_shards(
    splits: Iterable[Split | None],
    keys: Sequence[str] | np.ndarray,
    per_shard: int,
    sizes: np.ndarray | None = None,
    most_bytes: int = 0,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every shard's name (`train-00000`) and the indices of its items.

    Args:
        splits: each item's split; an item without one is in no shard.
        keys: each item's key, packed or as a string; a split is ordered by the hash of the keys.
        per_shard: most items of a shard.
        sizes: each item's size [byte]; 0 where it is not known.
        most_bytes: most bytes of a shard with sizes; a larger item has a shard of its own.
    """
    sides = np.array([SPLITS.index(split) if split else -1 for split in splits], np.int8)
    for side, split in enumerate(SPLITS):
        members = np.flatnonzero(sides == side)
        # By hash, so that each shard mixes the classes and no shuffle job is needed.
        members = members[hash_order(_text(keys[index]) for index in members)]
        starts = range(0, len(members), per_shard)
        if sizes is not None:
            starts = _starts(map(int, sizes[members]), per_shard, most_bytes)
        for number, shard in enumerate(np.split(members, starts[1:]) if len(members) else []):
            yield f"{split}-{number:05d}", shard


def _starts(sizes: Iterable[int], per_shard: int, most_bytes: int) -> list[int]:
    """Return where each shard starts."""
    starts, filled = [0], 0
    for index, size in enumerate(sizes):
        if index - starts[-1] == per_shard or (filled and filled + size > most_bytes):
            starts.append(index)
            filled = 0
        filled += size
    return starts


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name

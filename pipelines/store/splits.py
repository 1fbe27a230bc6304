"""splits: the sides a sample can stand on, and how each side is ranked and cut into shards.

Promises  an order that mixes the classes and depends on names and seed alone; some 100 bytes of
          memory a name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, get_args

import numpy as np

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_BLOCK = 1 << 14  # names that are Python strings at a time


def ranked(names: Iterable[str], seed: int, purpose: str) -> list[str]:
    """In an order of its own for every seed and purpose, the same on every machine."""
    names = list(names)
    return [names[index] for index in hash_order(f"{seed}/{purpose}/{name}" for name in names)]


def hash_order(names: Iterable[str]) -> np.ndarray:
    """Indices that put names in the order of their SHA-256."""
    hashes = (hashlib.sha256(name.encode()).digest() for name in names)
    return np.argsort(np.fromiter(hashes, dtype="S32"), kind="stable")


def pack(names: Iterable[str]) -> np.ndarray:
    """Names as UTF-8 in one array, as wide as the longest: a third of what strings take."""
    names = iter(names)
    blocks = [np.empty(0, "S1")]
    while block := [name.encode() for name in islice(names, _BLOCK)]:
        blocks.append(np.array(block))
    return np.concatenate(blocks)


def cut_into_shards(
    splits: Iterable[Split | None], keys: Sequence[str] | np.ndarray, per_shard: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Every shard's name (`train-00000`) and the indices of its items, side by side.

    Args:
        splits: each item's side; one without any is in no shard.
        keys: each item's key, by whose hash a side is ordered; packed, or as strings.
        per_shard: most items of a shard.
    """
    sides = np.array([SPLITS.index(split) if split else -1 for split in splits], np.int8)
    for side, split in enumerate(SPLITS):
        mine = np.flatnonzero(sides == side)
        mine = mine[hash_order(_text(keys[index]) for index in mine)]
        for number, start in enumerate(range(0, len(mine), per_shard)):
            yield f"{split}-{number:05d}", mine[start : start + per_shard]


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name

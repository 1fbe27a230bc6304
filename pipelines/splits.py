"""splits: the sides a sample can stand on, and how each side is ranked and cut into shards.

Promises  an order that mixes the classes and depends on names and seed alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeVar, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

Item = TypeVar("Item")


def ranked(names: Iterable[str], seed: int, purpose: str) -> list[str]:
    """In an order of its own for every seed and purpose, the same on every machine."""
    return sorted(
        names, key=lambda name: hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest()
    )


def cut_into_shards(
    items: Iterable[Item],
    split_of: Callable[[Item], str | None],
    key_of: Callable[[Item], str],
    per_shard: int,
) -> Iterator[tuple[str, tuple[Item, ...]]]:
    """Every shard's name (`train-00000`) and items, at most `per_shard` each, side by side."""
    items = list(items)
    for split in SPLITS:
        side = [item for item in items if split_of(item) == split]
        side.sort(key=lambda item: hashlib.sha256(key_of(item).encode()).digest())
        for number, start in enumerate(range(0, len(side), per_shard)):
            yield f"{split}-{number:05d}", tuple(side[start : start + per_shard])

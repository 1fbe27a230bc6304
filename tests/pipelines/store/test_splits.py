"""splits: every item in one shard, of its side, whatever the order they come in."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.store.splits import SPLITS, Split, cut_into_shards, hash_order, pack, ranked

PINNED = {
    "train-00000": ["d", "f", "c"],
    "train-00001": ["b", "e", "h"],
    "train-00002": ["a", "g"],
}
RANKED = ["b", "d", "f", "g", "e", "h", "a", "c"]

names = st.lists(st.text("abc", min_size=1, max_size=5), max_size=12, unique=True)


def _cut(items: list[tuple[Split | None, str]], size: int) -> dict[str, list[str]]:
    keys = pack(key for _, key in items)
    shards = cut_into_shards((split for split, _ in items), keys, size)
    return {name: [keys[index].decode() for index in members] for name, members in shards}


@given(
    sides=st.fixed_dictionaries({"train": names, "val": names, "test": names}),
    size=st.integers(1, 5),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=40)
def test_shards_hold_every_item_once_whatever_the_order(
    sides: dict[Split, list[str]], size: int, seed: int
) -> None:
    items: list[tuple[Split | None, str]] = [(side, key) for side in sides for key in sides[side]]
    shards = _cut([*items, (None, "of no side")], size)
    assert _cut(random.Random(seed).sample(items, len(items)), size) == shards
    assert list(shards) == sorted(shards, key=lambda n: (SPLITS.index(n[:-6]), n))
    for side, keys in sides.items():
        mine = [members for name, members in shards.items() if name.startswith(f"{side}-")]
        assert [name for name in shards if name.startswith(f"{side}-")] == [
            f"{side}-{i:05d}" for i in range(len(mine))
        ]
        assert sorted(key for members in mine for key in members) == sorted(keys)
        assert all(len(members) == size for members in mine[:-1])


@given(
    sizes=st.lists(st.integers(0, 9), max_size=30),
    per_shard=st.integers(1, 5),
    most_bytes=st.integers(1, 20),
)
@settings(deadline=None, max_examples=60)
def test_shards_are_bounded_by_items_and_by_bytes_and_are_as_large_as_that_allows(
    sizes: list[int], per_shard: int, most_bytes: int
) -> None:
    keys = [f"{number}" for number in range(len(sizes))]
    splits: list[Split | None] = ["train"] * len(sizes)
    known = np.array(sizes, np.int64)
    cut = [m.tolist() for _, m in cut_into_shards(splits, keys, per_shard, known, most_bytes)]
    assert [index for members in cut for index in members] == hash_order(keys).tolist()
    for members, following in zip(cut, [*cut[1:], []], strict=False):
        total = sum(sizes[index] for index in members)
        assert 0 < len(members) <= per_shard
        assert total <= most_bytes or sum(sizes[index] > 0 for index in members) == 1
        if following:
            is_full = len(members) == per_shard
            assert is_full or total + sizes[following[0]] > most_bytes
    unbounded = cut_into_shards(splits, keys, per_shard)
    bounded = cut_into_shards(splits, keys, per_shard, known, sum(sizes) + 1)
    assert [m.tolist() for _, m in bounded] == [m.tolist() for _, m in unbounded]


def test_the_order_is_the_same_in_every_release() -> None:
    """Pinned: another order would be other shards of the same name."""
    assert _cut([("train", key) for key in "abcdefgh"], 3) == PINNED
    assert ranked("abcdefgh", 7, "split") == RANKED


def test_packed_names_are_as_wide_as_the_longest_and_any_number() -> None:
    texts = [f"{n:x}" * (1 + n % 3) for n in range(40_000)] + ["ü" * 10]
    packed = pack(texts)
    assert [name.decode() for name in packed] == texts
    assert packed.dtype == "S20"
    assert pack([]).shape == hash_order([]).shape == (0,)
    assert np.array_equal(hash_order(texts), hash_order(iter(texts)))

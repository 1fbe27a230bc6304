"""Training batches: a pure function of seed, step and worker, and every sample once an epoch."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from upath import UPath

from pipelines.artifacts import Artifact, Store
from pipelines.batches import Batch, TrainingBatches, collate, stable_group
from pipelines.shard_io import encode_array
from tests.pipelines import synthetic
from vitlens_core.errors import ConfigError

SIZES = (5, 3, 4, 1)
SAMPLES = sum(SIZES)
KINDS = ("image", "text")
quick = settings(deadline=None, max_examples=25)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    store = Store(UPath(tmp_path_factory.mktemp("batches")))
    return synthetic.targets(store, {"train": SIZES, "val": (2,)})


def _batches(made: Artifact, size: int, count: int, first: int = 0, **options) -> list[Batch]:
    return list(
        islice(
            TrainingBatches(made, "points.npy", KINDS, size, **options).starting_at(first), count
        )
    )


def _same(one: Batch, other: Batch) -> bool:
    pairs = [(one.signals, other.signals), (one.groups, other.groups)]
    pairs += [(one.targets[kind], other.targets[kind]) for kind in KINDS]
    return one.keys == other.keys and all(torch.equal(a, b) for a, b in pairs)


@given(
    step=st.integers(0, 12),
    size=st.integers(1, 7),
    seed=st.integers(0, 99),
    buffer=st.integers(1, 20),
    workers=st.integers(1, 3),
)
@quick
def test_a_resumed_run_goes_on_with_the_very_batch_it_stopped_at(
    made: Artifact, step: int, size: int, seed: int, buffer: int, workers: int
) -> None:
    options = {"seed": seed, "shuffle_buffer": buffer, "rank": seed % workers}
    straight = _batches(made, size, step + 2, world_size=workers, **options)
    resumed = _batches(made, size, 2, first=step, world_size=workers, **options)
    assert all(_same(a, b) for a, b in zip(straight[step:], resumed, strict=True))


@given(seed=st.integers(0, 99), buffer=st.integers(1, 20), epochs=st.integers(1, 4))
@quick
def test_every_sample_comes_once_an_epoch_and_no_held_out_one_does(
    made: Artifact, seed: int, buffer: int, epochs: int
) -> None:
    batches = _batches(made, SAMPLES, epochs, seed=seed, shuffle_buffer=buffer)
    for batch in batches:
        assert sorted(batch.keys) == [f"train{i:03d}" for i in range(SAMPLES)]


def test_every_epoch_has_an_order_of_its_own(made: Artifact) -> None:
    orders = {tuple(batch.keys) for batch in _batches(made, SAMPLES, 4, seed=0, shuffle_buffer=20)}
    assert len(orders) == 4


@given(seed=st.integers(0, 99), workers=st.integers(1, 4))
@quick
def test_workers_see_disjoint_shards_that_add_up_to_all(
    made: Artifact, seed: int, workers: int
) -> None:
    """Within an epoch; a worker's share is as many samples as its shards hold."""
    seen: Counter[str] = Counter()
    for rank in range(workers):
        batches = TrainingBatches(
            made, "points.npy", KINDS, 1, rank=rank, world_size=workers, seed=seed
        )
        order = list(range(len(SIZES)))
        random.Random(f"{seed}/0").shuffle(order)
        share = sum(SIZES[index] for index in order[rank::workers])
        seen.update(key for batch in islice(batches.starting_at(0), share) for key in batch.keys)
    assert seen == Counter(f"train{i:03d}" for i in range(SAMPLES))


def test_seeds_differ(made: Artifact) -> None:
    first, second = (_batches(made, 6, 1, seed=seed)[0] for seed in (0, 1))
    assert first.keys != second.keys


def test_a_batch_pairs_each_signal_with_a_view_and_a_caption_of_its_own() -> None:
    samples = [synthetic.sample(i, "train") for i in range(6)]
    batch = collate(samples, "points.npy", KINDS, random.Random(0))
    assert batch.signals.shape == (6, 40, 6)
    assert batch.targets.keys() == set(KINDS)
    for targets in batch.targets.values():
        assert (targets.shape, targets.dtype) == ((6, synthetic.EMBED_DIM), torch.float32)
    own = collate(samples[2:3], "points.npy", KINDS, random.Random(1))
    assert torch.equal(own.signals[0], batch.signals[2])
    assert batch.groups.tolist() == [stable_group(label) for label in synthetic.LABELS] * 2
    drawn = (collate(samples[:1], "points.npy", KINDS, random.Random(i)) for i in range(30))
    assert len({tuple(one.targets["image"][0].tolist()) for one in drawn}) == 3


def test_a_sample_without_what_it_is_trained_against_is_refused_with_the_way_out() -> None:
    sample = synthetic.sample(0, "train")
    nothing = encode_array(np.zeros((0, synthetic.EMBED_DIM), np.float16))
    for lacking in (sample | {"image_targets.npy": nothing}, sample):
        kinds = ("image",) if lacking is not sample else ("sound",)
        with pytest.raises(ConfigError, match=rf"train000 has no {kinds[0]}.*_weight=0"):
            collate([lacking], "points.npy", kinds, random.Random(0))


@example(labels=["old armchair", "red armchair", "x" * 300])
@given(labels=st.lists(st.text(min_size=1, max_size=30), unique=True, max_size=20))
def test_labels_keep_their_group_and_share_it_with_no_other(labels: list[str]) -> None:
    groups = [stable_group(label) for label in labels]
    assert len(set(groups)) == len(labels)
    assert all(-(2**63) <= group < 2**63 for group in groups)


def test_more_workers_than_shards_are_refused(made: Artifact) -> None:
    with pytest.raises(ConfigError, match="4 training shards cannot feed 5 workers"):
        TrainingBatches(made, "points.npy", KINDS, 2, world_size=5)


def test_an_empty_training_split_is_refused(tmp_path: Path) -> None:
    empty = synthetic.targets(Store(UPath(tmp_path)), {"train": (0,), "val": (2,)})
    with pytest.raises(ConfigError, match="the training split is empty"):
        TrainingBatches(empty, "points.npy", KINDS, 2)

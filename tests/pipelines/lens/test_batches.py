"""Training batches: a function of seed and step, whoever reads them; every sample once an epoch."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from upath import UPath

from pipelines.execution.prefetch import prefetch
from pipelines.lens.batches import Batch, TrainingBatches, collate, lane_count
from pipelines.lens.settings import TrainConfig
from pipelines.lens.shard_table import SamplePlace, TrainingShard, read_targets, stable_id
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import OpenShard, Sample, decode_array, encode_array, write_shard
from tests.pipelines import synthetic
from tests.pipelines.shard_bytes import encode_shard
from vitlens_core.errors import ConfigError, IntegrityError

SIZES = (5, 3, 4, 1)
SAMPLES = sum(SIZES)
KINDS = ("image", "text")
PINNED_KEYS = [
    *("00", "05", "04", "02", "06", "01", "07", "09", "12", "03"),
    *("11", "08", "10", "10", "05", "09", "08", "07", "01", "02"),
]
PINNED_SUMS = [4.756, 3.301, 2.652, 2.985, 4.786, 5.032, 4.6, 2.6, 1.93, 2.969]
MANY = (2, 1, 3, 2) * 8  # shards enough for four lanes
quick = settings(deadline=None, max_examples=25)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    store = Store(UPath(tmp_path_factory.mktemp("batches")))
    return synthetic.targets(store, {"train": SIZES, "val": (2,)})


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return synthetic.targets(Store(UPath(tmp_path_factory.mktemp("large"))), {"train": MANY})


def _places(folder: Path, samples: list[Sample], *arrays: str) -> list[SamplePlace]:
    """The samples in a shard, to be read."""
    made = synthetic.targets(
        Store(UPath(folder)), {"train": (len(samples),)}, lambda number, split: samples[number]
    )
    names = [f"{name}_targets.npy" for name in arrays or KINDS]
    shard = TrainingShard(made, made.shards()[0], len(samples), ["points.npy", *names])
    return [SamplePlace(shard.opened(), number) for number in range(len(samples))]


def _batches(made: Artifact, size: int, count: int, first: int = 0, **options) -> list[Batch]:
    return list(
        islice(
            TrainingBatches(made, "points.npy", KINDS, size, **options).starting_at(first), count
        )
    )


def _same(one: Batch, other: Batch) -> bool:
    pairs = [(one.signals, other.signals), (one.label_ids, other.label_ids)]
    pairs += [(one.targets[kind], other.targets[kind]) for kind in KINDS]
    return one.keys == other.keys and all(torch.equal(a, b) for a, b in pairs)


@given(
    step=st.integers(0, 12),
    per_worker=st.integers(1, 4),
    seed=st.integers(0, 99),
    buffer=st.integers(1, 20),
    workers=st.integers(1, 3),
)
@quick
def test_a_resumed_run_goes_on_with_the_very_batch_it_stopped_at(
    made: Artifact, step: int, per_worker: int, seed: int, buffer: int, workers: int
) -> None:
    size = per_worker * workers
    options = {"seed": seed, "shuffle_buffer": buffer, "rank": seed % workers}
    straight = _batches(made, size, step + 2, world_size=workers, **options)
    resumed = _batches(made, size, 2, first=step, world_size=workers, **options)
    assert all(_same(a, b) for a, b in zip(straight[step:], resumed, strict=True))


@given(
    step=st.integers(0, 9),
    size=st.sampled_from([6, 8, 12, 24]),
    workers=st.sampled_from([1, 2, 3, 6]),
    seed=st.integers(0, 99),
)
@quick
def test_workers_together_see_the_batch_that_one_alone_would(
    large: Artifact, step: int, size: int, workers: int, seed: int
) -> None:
    workers = workers if size % workers == 0 else 2
    options = {"first": step, "seed": seed, "shuffle_buffer": 5}
    (whole,) = _batches(large, size, 1, **options)
    shares = [
        _batches(large, size, 1, rank=rank, world_size=workers, **options)[0]
        for rank in range(workers)
    ]
    assert whole.rows == range(size)
    assert [row for share in shares for row in share.rows] == list(whole.rows)
    assert [key for share in shares for key in share.keys] == whole.keys
    assert torch.equal(torch.cat([share.signals for share in shares]), whole.signals)
    for kind in KINDS:
        assert torch.equal(torch.cat([s.targets[kind] for s in shares]), whole.targets[kind])


@given(shards=st.integers(1, 5000), size=st.integers(1, 4096))
def test_lanes_divide_the_batch_and_have_shards_enough(shards: int, size: int) -> None:
    lanes = lane_count(shards, size)
    assert size % lanes == 0
    assert lanes == 1 or shards >= 8 * lanes


def test_lanes_are_as_many_as_shards_and_batch_allow() -> None:
    assert [lane_count(n, 512) for n in (1, 15, 16, 32, 1563)] == [1, 1, 2, 4, 128]
    assert [lane_count(1563, size) for size in (1, 6, 48, 96)] == [1, 2, 16, 32]
    # As infra/scale.md has them.
    assert [lane_count(3922, 32_768), lane_count(49_020, 32_768)] == [256, 4096]
    assert [lane_count(3922, 32_000), lane_count(49_020, 32_000)] == [256, 256]


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


def test_seeds_differ(made: Artifact) -> None:
    first, second = (_batches(made, 6, 1, seed=seed)[0] for seed in (0, 1))
    assert first.keys != second.keys


def test_a_batch_pairs_each_signal_with_a_view_and_a_caption_of_its_own(tmp_path: Path) -> None:
    samples = [synthetic.sample(i, "train") for i in range(6)]
    places = _places(tmp_path, samples)
    batch = collate(places, "points.npy", KINDS, "0", range(6))
    for row, sample in enumerate(samples):
        assert np.array_equal(batch.signals[row], decode_array(sample["points.npy"]))
        for kind in KINDS:
            own = read_targets(sample, kind).astype(np.float32)
            assert (own == batch.targets[kind][row].numpy()).all(1).any()
    for targets in batch.targets.values():
        assert (targets.shape, targets.dtype) == ((6, synthetic.EMBED_DIM), torch.float32)
    assert batch.label_ids.tolist() == [stable_id(label) for label in synthetic.LABELS] * 2
    assert batch.sample_ids.tolist() == [stable_id(sample["__key__"]) for sample in samples]
    drawn = (collate(places[:1], "points.npy", KINDS, str(i), range(1)) for i in range(30))
    assert len({tuple(one.targets["image"][0].tolist()) for one in drawn}) == 3


def test_a_batch_has_all_views_and_captions_with_their_chances_if_asked(tmp_path: Path) -> None:
    samples = [synthetic.uneven(i, "train") for i in range(5)]
    places = _places(tmp_path, samples)
    batch = collate(places, "points.npy", KINDS, "0", range(5), "all")
    assert {kind: tuple(rows.shape) for kind, rows in batch.targets.items()} == {
        "image": (5, 4, synthetic.EMBED_DIM),
        "text": (5, 2, synthetic.EMBED_DIM),
    }
    for row, sample in enumerate(samples):
        own = read_targets(sample, "image")
        assert np.array_equal(batch.targets["image"][row, : len(own)].numpy(), own)
        assert not batch.targets["image"][row, len(own) :].any()
        even = [1 / len(own)] * len(own) + [0] * (4 - len(own))
        assert batch.weights["image"][row].tolist() == pytest.approx(even)
        assert np.array_equal(batch.targets["text"][row].numpy(), read_targets(sample, "text"))
        assert batch.weights["text"][row].tolist() == pytest.approx([0.25, 0.75])
    drawn = collate(places, "points.npy", KINDS, "0", range(5))
    assert drawn.weights == {}
    assert torch.equal(drawn.signals, batch.signals)
    assert drawn.keys == batch.keys


def test_a_sample_without_what_it_is_trained_against_is_refused_with_the_way_out(
    tmp_path: Path,
) -> None:
    sample = synthetic.sample(0, "train")
    nothing = encode_array(np.zeros((0, synthetic.EMBED_DIM), np.float16))
    lacking = [
        (sample | {"image_targets.npy": nothing}, "image", "image_weight"),
        (sample, "teacher_sound", "teacher_weights.sound"),
    ]
    for found, kind, weight in lacking:
        places = _places(tmp_path / kind, [found], kind)
        with pytest.raises(ConfigError, match=rf"train000 has no {kind}.*lens\.train\.{weight}=0"):
            collate(places, "points.npy", [kind], "0", range(1))
        with pytest.raises(ConfigError, match=rf"train000 has no {kind}.*lens\.train\.{weight}=0"):
            collate(places, "points.npy", [kind], "0", range(1), "all")


def test_a_signal_of_another_shape_is_named(tmp_path: Path) -> None:
    samples = [synthetic.sample(0, "train"), synthetic.sample(1, "train", points=39)]
    places = _places(tmp_path, samples)
    with pytest.raises(ValueError, match=r"train-00000\.tar.*train001 is float16 \(39, 6\)"):
        collate(places, "points.npy", KINDS, "0", range(2))


def test_finding_a_place_reads_nothing_of_what_lies_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine of ten shards come before it: their tars may be gone."""
    made = synthetic.targets(Store(UPath(tmp_path)), {"train": (4,) * 10})
    straight = _batches(made, 4, 10, seed=3, shuffle_buffer=1)
    opened = []
    monkeypatch.setattr(
        Artifact, "open_shard", lambda self, path: opened.append(path.name) or OpenShard(path)
    )
    (resumed,) = _batches(made, 4, 1, first=9, seed=3, shuffle_buffer=1)
    assert _same(resumed, straight[9])
    assert len(opened) <= 2


def test_the_batches_are_the_same_in_every_release(made: Artifact) -> None:
    """Pinned: another order or other draws would be another training under the same seed."""
    batches = _batches(made, 4, 5, seed=5, shuffle_buffer=6)
    assert [key[-2:] for batch in batches for key in batch.keys] == PINNED_KEYS
    drawn = torch.stack([batch.targets[kind].sum() for batch in batches for kind in KINDS])
    assert torch.allclose(drawn, torch.tensor(PINNED_SUMS), atol=1e-3)


def test_a_damaged_sample_is_named_if_reads_are_verified(tmp_path: Path) -> None:
    made = _summed(tmp_path)
    path = made.shards()[0]
    data = bytearray(path.read_bytes())
    data[data.index(b"train002.points.npy") + 1000] ^= 1
    path.write_bytes(bytes(data))
    assert _batches(made, 4, 1)
    with pytest.raises(IntegrityError, match=r"train-00000\.tar: sample train002 differs"):
        _batches(replace(made, verify_reads=True), 4, 1)


def test_a_shard_with_a_sample_too_few_is_named(tmp_path: Path) -> None:
    made = synthetic.targets(Store(UPath(tmp_path)), {"train": (4,)})
    path = made.shards()[0]
    path.write_bytes(encode_shard([synthetic.sample(i, "train") for i in range(3)]))
    with pytest.raises(IntegrityError, match=r"train-00000\.tar: found 3 samples, 4 were written"):
        _batches(made, 4, 1)


def _summed(folder: Path) -> Artifact:
    """Four samples, with their checksums beside them."""
    made = synthetic.targets(Store(UPath(folder)), {"train": (4,)})
    write_shard(made.shards()[0], [synthetic.sample(i, "train") for i in range(4)])
    return made


@example(labels=["old armchair", "red armchair", "x" * 300])
@given(labels=st.lists(st.text(min_size=1, max_size=30), unique=True, max_size=20))
def test_labels_keep_their_group_and_share_it_with_no_other(labels: list[str]) -> None:
    groups = [stable_id(label) for label in labels]
    assert len(set(groups)) == len(labels)
    assert all(-(2**63) <= group < 2**63 for group in groups)


def test_an_empty_training_split_is_refused(tmp_path: Path) -> None:
    empty = synthetic.targets(Store(UPath(tmp_path)), {"train": (0,), "val": (2,)})
    with pytest.raises(ConfigError, match="the training split is empty"):
        TrainingBatches(empty, "points.npy", KINDS, 2)


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_a_share_reads_the_first_samples_of_every_shard(made: Artifact, share: float) -> None:
    counts = [max(1, round(share * size)) for size in SIZES]
    seen = {key for batch in _batches(made, 1, sum(counts), share=share) for key in batch.keys}
    firsts = np.cumsum([0, *SIZES[:-1]])
    numbers = [first + n for first, count in zip(firsts, counts, strict=True) for n in range(count)]
    assert seen == {f"train{number:03d}" for number in numbers}


def test_mirrors_are_drawn_by_their_weights(tmp_path: Path) -> None:
    """Whatever step a run goes on at, and whoever reads."""

    def sample(number: int, split: str) -> Sample:
        made = synthetic.sample(number, split)
        told = SampleInfo.of(made).model_copy(update={"mirror": "parts" if number % 2 else ""})
        return {**made, "json": told.encode()}

    store = Store(UPath(tmp_path))
    mixed = synthetic.targets(store, {"train": (10, 10, 10)}, sample)
    for weight, share in ((0.25, 0.2), (3.0, 0.75)):
        batches = _batches(mixed, 4, 300, mirror_weights={"parts": weight})
        drawn = [int(key.removeprefix("train")) % 2 for batch in batches for key in batch.keys]
        assert np.mean(drawn) == pytest.approx(share, abs=0.03)
        later = _batches(mixed, 4, 5, first=120, mirror_weights={"parts": weight})
        assert all(map(_same, later, batches[120:]))


@pytest.mark.parametrize("left_out", [{"share": 0.5}, {"mirror_weights": {"parts": 2}}])
def test_neighbours_of_what_is_left_out_are_refused(left_out: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="state one or the other"):
        TrainConfig.model_validate({"hard_negatives": {}, **left_out})


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_are_the_same_on_any_number_of_reading_threads(
    large: Artifact, threads: int, verify: bool
) -> None:
    """Two epochs, so that tables are made and used by several threads."""
    count = 2 * sum(MANY) // 8
    expected = _batches(large, 8, count)
    batches = TrainingBatches(replace(large, verify_reads=verify), "points.npy", KINDS, 8)
    planned = islice(batches.planned(0), count)
    found = list(prefetch(planned, batches.read, threads=threads, ahead=threads + 1))
    assert [batch.keys for batch in found] == [batch.keys for batch in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.signals, other.signals, rtol=0, atol=0)
        for kind in KINDS:
            torch.testing.assert_close(one.targets[kind], other.targets[kind], rtol=0, atol=0)

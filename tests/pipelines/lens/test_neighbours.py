"""Hard negatives: the table of neighbours, and batches drawn by it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from pipelines.execution.runtime import Resources
from pipelines.lens import neighbours
from pipelines.lens.batches import Batch, TrainingBatches
from pipelines.lens.neighbours import (
    Neighbours,
    mean_targets,
    nearest,
    read_table,
    table_of_workers,
    write_table,
)
from pipelines.lens.objective import Objective
from pipelines.lens.settings import HardNegatives, TrainConfig
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from tests.pipelines import synthetic
from vitlens_core.errors import ConfigError, IntegrityError

CPU = torch.device("cpu")
SIZES = (5, 3, 6, 2, 4, 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    store = Store(UPath(tmp_path_factory.mktemp("neighbours")))
    return synthetic.targets(store, {"train": SIZES, "val": (2,)})


@given(st.integers(2, 40), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_the_nearest_are_those_of_all_pairs(count: int, seed: int) -> None:
    """Tiles smaller than the data, so that their borders are crossed."""
    vectors = F.normalize(torch.randn(count, 6, generator=torch.manual_seed(seed)), dim=-1)
    found = nearest(vectors, min(4, count - 1), tile=(7, 5))
    scores = vectors @ vectors.T
    scores.fill_diagonal_(-2)
    expected = scores.topk(found.shape[1], dim=1)
    # By score: rounding may exchange two that are equally near.
    chosen = scores.gather(1, torch.from_numpy(found).long())
    torch.testing.assert_close(chosen, expected.values, atol=1e-6, rtol=0)
    assert all(len(set(row)) == len(row) for row in found.tolist())


def test_the_table_is_made_once_and_its_rows_are_the_samples(
    made: Artifact, tmp_path: Path
) -> None:
    config = HardNegatives(nearest=4)
    path = write_table(UPath(tmp_path / "table"), made, config, CPU)
    table = read_table(path)
    assert table.shape == (sum(SIZES), 4)
    assert table.dtype == np.int32
    # The synthetic targets of a class lie together: neighbours are of the own class.
    assert (table % 3 == np.arange(sum(SIZES))[:, None] % 3).mean() > 0.9
    before = path.stat().st_mtime_ns
    write_table(UPath(tmp_path / "table"), made, config, CPU)
    assert path.stat().st_mtime_ns == before
    means = mean_targets(made, "text")
    torch.testing.assert_close(means.float().norm(dim=1), torch.ones(sum(SIZES)), atol=1e-3, rtol=0)
    with pytest.raises(ConfigError, match="only 24 samples"):
        write_table(UPath(tmp_path / "other"), made, HardNegatives(nearest=24), CPU)


def test_it_is_made_on_the_device_of_training_whatever_the_driver_sees(
    made: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU of the driver that nobody asked for belongs to somebody else."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    resources = Resources(train_workers=0)
    path = table_of_workers(resources, UPath(tmp_path / "table"), made, HardNegatives(nearest=4))
    assert read_table(path).shape == (sum(SIZES), 4)


def test_where_a_cluster_trains_it_is_made_there(
    made: Artifact, tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster is the Ray of these tests; the driver's own arithmetic is taken away."""
    expected = read_table(write_table(UPath(tmp_path / "a"), made, HardNegatives(nearest=4), CPU))
    monkeypatch.setenv("RAY_ADDRESS", "joined")
    monkeypatch.setattr(neighbours, "nearest", None)
    resources = Resources(cpus=2, render_workers=1, encode_workers=1, train_workers=1)
    path = table_of_workers(resources, UPath(tmp_path / "b"), made, HardNegatives(nearest=4))
    np.testing.assert_array_equal(read_table(path), expected)
    with pytest.raises(ConfigError, match="only 24 samples"):
        table_of_workers(resources, UPath(tmp_path / "c"), made, HardNegatives(nearest=24))


def _batches(made: Artifact, table: np.ndarray, count: int, first: int = 0, **more) -> list[Batch]:
    drawn = Neighbours(table, group=3)
    batches = TrainingBatches(made, "points.npy", ["text"], 12, neighbours=drawn, **more)
    return list(islice(batches.starting_at(first), count))


def _table() -> np.ndarray:
    """The six samples after each, around the end."""
    return ((np.arange(24)[:, None] + np.arange(1, 7)) % 24).astype(np.int32)


def test_a_group_is_a_sample_and_its_neighbours(made: Artifact) -> None:
    for batch in _batches(made, _table(), 6):
        numbers = np.array([int(key.removeprefix("train")) for key in batch.keys]).reshape(4, 3)
        away = (numbers[:, 1:] - numbers[:, :1]) % 24
        assert ((away >= 1) & (away <= 6)).all()
        assert (away[:, 0] != away[:, 1]).all()


def test_seeds_go_once_through_the_data_before_any_comes_again(made: Artifact) -> None:
    firsts = [batch.keys[i] for batch in _batches(made, _table(), 6) for i in range(0, 12, 3)]
    assert len(set(firsts)) == 24


@pytest.mark.parametrize("workers", [2, 4])
def test_batches_are_the_same_on_any_number_of_workers_and_after_a_resume(
    made: Artifact, workers: int
) -> None:
    whole = _batches(made, _table(), 5)
    resumed = _batches(made, _table(), 2, first=3)
    assert [b.keys for b in resumed] == [b.keys for b in whole[3:]]
    parts = [_batches(made, _table(), 5, rank=rank, world_size=workers) for rank in range(workers)]
    for step, batch in enumerate(whole):
        keys = [key for part in parts for key in part[step].keys]
        targets = torch.cat([part[step].targets["text"] for part in parts])
        assert keys == batch.keys
        assert torch.equal(targets, batch.targets["text"])


def test_groups_that_do_not_divide_and_another_table_are_refused(made: Artifact) -> None:
    with pytest.raises(ConfigError, match="do not divide into groups of 3"):
        _batches(made, _table(), 1, world_size=3)
    with pytest.raises(IntegrityError, match="9 samples, the shards 24"):
        _batches(made, _table()[:9], 1)
    with pytest.raises(ValueError, match="needs 3 neighbours"):
        HardNegatives(group=4, nearest=2)
    with pytest.raises(ValueError, match="does not divide into groups"):
        TrainConfig.model_validate({"batch_size": 9, "hard_negatives": {"group": 2}})


def test_a_sample_that_comes_twice_is_no_negative_of_itself() -> None:
    """The loss of a batch with a sample twice: as if the two were one label."""
    embeddings = F.normalize(torch.randn(3, 4, generator=torch.manual_seed(0)), dim=-1)
    embeddings, target = embeddings[[0, 0, 1]], embeddings[[0, 0, 1]]
    batch = Batch(
        rows=range(3),
        keys=["a", "a", "b"],
        signals=embeddings,
        targets={"text": target},
        label_ids=torch.tensor([7, 7, 8]),
        sample_ids=torch.tensor([1, 1, 2]),
    )
    scale = torch.tensor(3.0)
    losses = [
        Objective(TrainConfig.model_validate(settings), {"text": 1.0}, None, CPU)
        .losses(embeddings, batch, scale)["text"]
        .item()
        for settings in ({"hard_negatives": {}}, {"label_positives": True}, {})
    ]
    assert losses[0] == pytest.approx(losses[1])
    assert losses[0] < losses[2] + 1e-6

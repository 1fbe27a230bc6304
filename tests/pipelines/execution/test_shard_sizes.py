"""The number of samples of every shard: from the manifest, without a request for each shard."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from pipelines.execution.bulk import build_shards
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardTask, shard_sizes
from pipelines.lens.batches import TrainingBatches
from pipelines.store.artifacts import Artifact, load
from tests.pipelines import synthetic
from tests.pipelines.processors import Echo

ITEMS = {"test-00000": ("bad",), "train-00000": ("one", "bad", "two"), "train-00001": ("three",)}


@pytest.fixture
def made(runtime: Runtime, tmp_path: Path) -> Artifact:
    build = runtime.store.begin("echo", 1, {}, {})
    tasks = [ShardTask(name) for name in ITEMS]
    build_shards(runtime, build, tasks, partial(Echo, tmp_path / "asked.log", ITEMS))
    return load(build.folder)


def _without_records(artifact: Artifact) -> Artifact:
    for record in artifact.folder.glob("*.record.json"):
        record.unlink()
    return artifact


def test_the_manifest_has_the_size_of_every_shard(made: Artifact) -> None:
    assert shard_sizes(_without_records(made), "train") == [2, 1]
    assert shard_sizes(made, "test") == [0]
    assert shard_sizes(made, "val") == []


def test_a_manifest_without_sizes_is_completed_by_the_records(runtime: Runtime) -> None:
    made = synthetic.targets(runtime.store, {"train": (3, 2)})
    assert made.manifest.samples == {}
    assert shard_sizes(made, "train") == [3, 2]


def test_training_opens_no_record(runtime: Runtime) -> None:
    sizes = (3, 2)
    made = synthetic.targets(runtime.store, {"train": sizes})
    names = [path.name.removesuffix(".tar") for path in made.shards()]
    samples = dict(zip(names, sizes, strict=True))
    stated = made.manifest.model_copy(update={"samples": samples})
    batches = TrainingBatches(
        _without_records(Artifact(made.folder, stated)), "points.npy", ["image"], 5
    )
    assert batches.sizes == [3, 2]
    assert sorted(next(batches.starting_at(0)).keys) == [f"train{n:03d}" for n in range(5)]

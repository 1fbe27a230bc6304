"""objects: what is fetched, how it is cut into shards, and what decides its identity."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import record_name
from pipelines.objects import job as objects
from pipelines.objects.job import ObjectFetcher, write_plans
from pipelines.objects.mirror import open_mirror
from pipelines.objects.step import ObjectsConfig
from pipelines.store.artifact_store import PLAN, Store
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.files import names_in
from pipelines.store.shards import Sample, read_shard
from tests.pipelines.quiet import quiet_runtime
from tests.pipelines.slow_store import SlowStore, registered
from tests.pipelines.small_mirror import BROKEN, CLASSES, PER_CLASS
from vitlens_core.errors import ConfigError


def _samples(artifact: Artifact, split: str | None = None) -> list[Sample]:
    return [sample for path in artifact.shards(split) for sample in read_shard(path)]


def test_every_object_is_fetched_whole_with_its_annotations(
    objects_artifact: Artifact, flow_mirror: Path
) -> None:
    objects_artifact.verify()
    samples = _samples(objects_artifact)
    assert objects_artifact.manifest.counts["samples"] == len(samples) == PER_CLASS * 3 + 1
    for sample in samples:
        described = json.loads(sample["json"])
        path = flow_mirror / "hf-objaverse-v1" / described["path"]
        assert sample["glb"] == path.read_bytes()
        assert described["sha256"] == hashlib.sha256(sample["glb"]).hexdigest()
        assert described["uid"] == sample["__key__"]
        assert described["label"] in CLASSES


def test_what_cannot_be_fetched_is_set_aside_with_its_reason(objects_artifact: Artifact) -> None:
    (missing,) = objects_artifact.quarantined()
    assert (missing.key, missing.step) == ("not-there", "objects")
    assert "no such file" in missing.reason


def test_every_class_stands_on_every_side_and_no_object_on_two(objects_artifact: Artifact) -> None:
    sides = {split: _samples(objects_artifact, split) for split in ("train", "val", "test")}
    keys = [sample["__key__"] for samples in sides.values() for sample in samples]
    assert len(keys) == len(set(keys))
    for split, samples in sides.items():
        described = [json.loads(sample["json"]) for sample in samples]
        assert {d["split"] for d in described} == {split}
        good = Counter(d["label"] for d in described if d["uid"] not in BROKEN)
        assert set(good) == set(CLASSES)


def test_shards_are_bounded(objects_artifact: Artifact) -> None:
    sizes = [len(list(read_shard(path))) for path in objects_artifact.shards()]
    assert max(sizes) <= 3
    assert [p.name for p in objects_artifact.shards("train")][:2] == [
        "train-00000.tar",
        "train-00001.tar",
    ]


def test_another_place_is_the_same_artifact(
    flow_runtime: Runtime, flow_mirror: Path, objects_artifact: Artifact, tmp_path: Path
) -> None:
    moved = shutil.copytree(flow_mirror, tmp_path / "moved")
    again = objects.run(flow_runtime, ObjectsConfig(mirror=str(moved), objects_per_shard=3))
    assert again.reused
    assert again.fingerprint == objects_artifact.fingerprint


def test_another_file_is_another_artifact(
    runtime: Runtime,
    flow_mirror: Path,
    objects_artifact: Artifact,
    tmp_path: Path,
) -> None:
    changed = shutil.copytree(flow_mirror, tmp_path / "changed")
    glb = next((changed / "hf-objaverse-v1" / "glbs" / "000-000").glob("*.glb"))
    glb.write_bytes(glb.read_bytes() + b"\0")
    other = objects.run(runtime, ObjectsConfig(mirror=str(changed), objects_per_shard=3))
    assert other.fingerprint != objects_artifact.fingerprint


@pytest.mark.parametrize("check_size", [True, False])
def test_a_file_of_another_size_is_set_aside_if_sizes_are_checked(
    flow_mirror: Path, tmp_path: Path, check_size: bool
) -> None:
    mirror = open_mirror(str(flow_mirror))
    record = next(r for r in mirror.records() if r.label == "chair")
    plans = UPath(tmp_path)
    item = {**vars(record), "size_bytes": 7, "split": "train"}
    write_plans(plans, [("train-00000", [item])])
    processor = ObjectFetcher({"": mirror}, ObjectsConfig(check_size=check_size), plans)
    (fetched,) = processor.samples(objects.ShardTask("train-00000"))
    if check_size:
        assert isinstance(fetched, Quarantined)
        assert "annotation says 7" in fetched.reason
    else:
        assert isinstance(fetched, dict)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mirror": "/no/such/mirror"}, "no Objaverse mirror at '/no/such/mirror'"),
        ({"classes": ("chiar",)}, "did you mean chair"),
        ({"licences": ("by-nc-sa",)}, "keeps none"),
    ],
)
def test_mistakes_are_told_before_any_work(
    flow_mirror: Path, tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    runtime = quiet_runtime(tmp_path)
    with pytest.raises(ConfigError, match=message):
        objects.run(runtime, ObjectsConfig.model_validate({"mirror": str(flow_mirror)} | wrong))
    assert runtime.store.artifacts() == []


class _PlannedError(Exception):
    """The plans are written; nothing is fetched."""


def _planned(runtime: Runtime, mirror: Path, per_shard: int) -> UPath:
    with pytest.raises(_PlannedError):
        objects.run(runtime, ObjectsConfig(mirror=str(mirror), objects_per_shard=per_shard))
    (folder,) = runtime.store.folders()
    return folder


def _plans(folder: UPath) -> list[str]:
    return sorted(name for name in names_in(folder) if name.endswith(PLAN))


@pytest.fixture
def only_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise _PlannedError

    monkeypatch.setattr(objects, "write_shards", stop)


@pytest.mark.usefixtures("only_planned")
@pytest.mark.parametrize("done", [0, 2])
def test_plans_take_one_listing_and_a_write_each_side_by_side(
    flow_mirror: Path, tmp_path: Path, done: int
) -> None:
    """At 49,020 shards a look and a write of each, one by one, would take the driver an hour."""
    looked = []
    for per_shard in (4, 1):
        with registered(answer_s=0.01) as asked:
            runtime = replace(quiet_runtime(tmp_path), store=Store(UPath("memory:///store")))
            folder = _planned(runtime, flow_mirror, per_shard)
            plans = _plans(folder)
            for name in plans[:done]:
                (folder / name).unlink()
                (folder / record_name(name.removesuffix(PLAN))).touch()
            SlowStore.most_at_a_time.clear()
            asked()
            _planned(runtime, flow_mirror, per_shard)
            found = asked()
            assert _plans(folder) == plans[done:]
        assert found["put"] == len(plans) - done
        assert SlowStore.most_at_a_time["put"] > 1
        looked.append((found["list"], found["look"], found["get"]))
    assert looked[0] == looked[1]  # whatever the number of shards

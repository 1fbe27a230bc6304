"""Stores that fail: a busy S3, a full disk, a folder nobody may write. Retried or said clearly,
and nothing half-written passes for done."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import s3fs
from upath import UPath

from pipelines.execution.bulk import build_shards
from pipelines.execution.shard_tasks import ShardTask
from pipelines.objects import job as objects
from pipelines.objects.step import ObjectsConfig
from pipelines.renders import job as renders
from pipelines.renders.step import RendersConfig
from pipelines.shards import job as shards
from pipelines.shards.step import ShardsConfig, StoredSignal
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Quarantined
from pipelines.store.shards import Sample
from tests.chaos import failing_s3
from tests.chaos.small_build import SAMPLES, Slow
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.errors import StorageError
from vitlens_core.modalities.point_cloud import PointCloudSignal

BUCKET = "shards"
TASKS = [ShardTask(f"train-{number:05d}") for number in range(6)]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Generator[failing_s3.Busy]:
    """A bucket that refuses one request in twenty; the environment points to it."""
    with failing_s3.serving(every=20) as (url, busy):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir(BUCKET)
        yield busy
        busy.down = False
        s3fs.S3FileSystem().rm(BUCKET, recursive=True)
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_busy_object_store_gives_what_a_folder_gives(s3: failing_s3.Busy, tmp_path: Path) -> None:
    """From objects to shards: the same bytes, whatever was refused."""
    made = {}
    for kind, root in {
        "folder": UPath(tmp_path / "folder"),
        "s3": UPath(f"s3://{BUCKET}/vitlens"),
    }.items():
        runtime = replace(quiet_runtime(tmp_path), store=Store(root))
        config = ObjectsConfig(classes=("chair", "lamp"), count=6, objects_per_shard=2)
        fetched = objects.run(runtime, config)
        few = RendersConfig(size_px=32, polar_deg=(90.0,), azimuths=2, points=64)
        rendered = renders.run(runtime, few, fetched)
        paired = shards.run(
            runtime,
            ShardsConfig(),
            StoredSignal("point_cloud", PointCloudSignal(points=64)),
            renders=rendered,
        )
        paired.verify()
        made[kind] = paired
    assert made["s3"].manifest.files == made["folder"].manifest.files
    assert s3.refused > 5
    assert not [path for path in made["s3"].folder.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.nightly  # it waits for the retries to end
def test_a_store_that_is_down_ends_the_job_and_the_next_run_goes_on(
    s3: failing_s3.Busy, tmp_path: Path
) -> None:
    store = Store(UPath(f"s3://{BUCKET}/down"))
    runtime = replace(quiet_runtime(tmp_path), store=store)

    class GoesDown(Slow):
        def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
            s3.down = task.name == "train-00003"
            return super().samples(task)

    build = store.begin("slow", 1, {}, {})
    with pytest.raises(StorageError, match="run the same command again to go on"):
        build_shards(runtime, build, TASKS, GoesDown)
    s3.down = False
    assert build.existing is None
    again = build_shards(runtime, build, TASKS, Slow)
    again.verify()
    assert again.manifest.counts == {"samples": 6 * (SAMPLES - 1), "shards": 6}


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_leaves_whole_shards_only(small_disk: Path, tmp_path: Path) -> None:
    store = Store(UPath(small_disk))
    runtime = replace(quiet_runtime(tmp_path), store=store)
    tasks = [ShardTask(f"train-{number:05d}") for number in range(12)]
    build = store.begin("slow", 1, {}, {})
    with pytest.raises(StorageError, match=r"No space left on device; free some space"):
        build_shards(runtime, build, tasks, Slow)
    done = sorted(path.name.split(".")[0] for path in build.folder.glob("*.record.json"))
    assert 1 < len(done) < 12
    assert not list(build.folder.glob(".*.tmp"))
    assert build.existing is None
    subprocess.run(
        ["mount", "-o", "remount,size=9m", str(small_disk)], check=True, capture_output=True
    )
    made = build_shards(runtime, build, tasks, Slow)
    made.verify()
    assert made.manifest.counts["shards"] == 12


def test_a_folder_that_may_not_be_written_is_named(small_disk: Path, tmp_path: Path) -> None:
    store = Store(UPath(small_disk))
    runtime = replace(quiet_runtime(tmp_path), store=store)
    build = store.begin("slow", 1, {}, {})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, capture_output=True)
    with pytest.raises(StorageError, match=r"Read-only file system; make it writable"):
        build_shards(runtime, build, TASKS, Slow)

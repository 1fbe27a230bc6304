"""Shards built by Ray Data: quarantine, going on after a failure, and whose error comes out."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from pipelines.artifacts import Artifact, Build
from pipelines.cluster import (
    ShardTask,
    build_shards,
    original_error,
    read_record,
    tasks_of,
    write_shards,
)
from pipelines.runtime import Runtime
from pipelines.shard_io import read_shard
from tests.pipelines.stages import Echo, refuse_to_start
from vitlens_core.errors import BadSampleError, ConfigError, IntegrityError, TransientError


@pytest.fixture
def build(runtime: Runtime) -> Build:
    return runtime.store.begin("echo", 1, {}, {})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "asked.log"


def _asked(log: Path) -> list[str]:
    return sorted(log.read_text().split())


def _tasks(**items: tuple[str, ...]) -> list[ShardTask]:
    return [ShardTask(name, given) for name, given in items.items()]


def test_every_task_becomes_a_shard_and_what_is_bad_is_set_aside(
    runtime: Runtime, build: Build, log: Path
) -> None:
    tasks = _tasks(a=("one", "bad", "two"), b=("bad",), c=("three",))
    made = build_shards(runtime, build, tasks, partial(Echo, log))
    made.verify()
    assert made.manifest.counts == {"samples": 3, "shards": 3}
    assert [s["__key__"] for path in made.shards() for s in read_shard(path)] == [
        "a-one",
        "a-two",
        "c-three",
    ]
    reasons = {q.reason for q in made.manifest.quarantined}
    assert (len(made.manifest.quarantined), reasons) == (2, {"it asked for it"})
    assert [task.name for task in tasks_of(made)] == ["a", "b", "c"]
    assert (read_record(made.folder, "a").samples, read_record(made.folder, "b").samples) == (2, 0)


def test_a_second_run_makes_only_the_shards_that_are_missing(
    runtime: Runtime, build: Build, log: Path
) -> None:
    """One worker takes the shards in turn, so that the first is done when the second fails."""
    tasks = _tasks(a=("one",), b=("refuse",), c=("three",))
    with pytest.raises(ConfigError, match="not understood"):
        build_shards(runtime, build, tasks, partial(Echo, log))
    assert build.existing is None
    finished = {task.name for task in tasks if (build.folder / f"{task.name}.record.json").exists()}
    assert "a" in finished
    assert "b" not in finished
    log.with_suffix(".mended").touch()
    log.unlink()
    made = build_shards(runtime, build, tasks, partial(Echo, log))
    assert set(_asked(log)) == {"a", "b", "c"} - finished
    assert made.manifest.counts == {"samples": 3, "shards": 3}


def test_a_finished_set_of_shards_is_not_touched(runtime: Runtime, build: Build, log: Path) -> None:
    tasks = _tasks(a=("one",))
    first = write_shards(runtime, build, tasks, partial(Echo, log))
    log.unlink()
    assert write_shards(runtime, build, tasks, refuse_to_start) == first
    assert not log.exists()


@pytest.mark.parametrize(
    ("stage", "kind", "message"),
    [
        ("refuse", ConfigError, "echo.item: 'refuse' is not understood"),
        ("start", BadSampleError, "no echo without a wall"),
    ],
)
def test_an_error_raised_on_purpose_comes_out_as_itself(
    runtime: Runtime, build: Build, log: Path, stage: str, kind: type[Exception], message: str
) -> None:
    """Not as Ray's, whose message is a traceback."""
    make = refuse_to_start if stage == "start" else partial(Echo, log)
    with pytest.raises(kind) as raised:
        write_shards(runtime, build, _tasks(a=("refuse",)), make)
    assert type(raised.value) is kind
    assert str(raised.value) == message


def test_a_worker_that_dies_is_replaced(runtime: Runtime, build: Build, log: Path) -> None:
    made = build_shards(runtime, build, _tasks(a=("one", "die once")), partial(Echo, log))
    assert made.manifest.counts == {"samples": 2, "shards": 1}
    assert _asked(log) == ["a", "a"]


def test_a_shard_that_kills_every_worker_ends_the_job(
    runtime: Runtime, build: Build, log: Path
) -> None:
    for _ in range(2):  # trying again starts counting anew
        log.unlink(missing_ok=True)
        with pytest.raises(TransientError, match="shard a: its worker was killed 3 times"):
            write_shards(runtime, build, _tasks(a=("die",)), partial(Echo, log))
        assert _asked(log) == ["a", "a", "a"]
    assert not (build.folder / "a.record.json").exists()


def test_the_error_below_rays_wrappings_is_found() -> None:
    own = IntegrityError("cut")
    wrapped = RuntimeError("outer")
    wrapped.__cause__ = ValueError("middle")
    wrapped.__cause__.__cause__ = own
    assert original_error(wrapped) is own
    assert original_error(own) is own
    stranger = RuntimeError("nobody raised this on purpose")
    assert original_error(stranger) is stranger


def test_only_the_manifest_means_done(runtime: Runtime, build: Build, log: Path) -> None:
    tasks = _tasks(a=("one",))
    write_shards(runtime, build, tasks, partial(Echo, log))
    assert runtime.store.artifacts() == []
    made: Artifact = build_shards(runtime, build, tasks, partial(Echo, log))
    assert [a.fingerprint for a in runtime.store.artifacts()] == [made.fingerprint]
    assert sorted(p.name for p in made.folder.iterdir()) == [
        "a.record.json",
        "a.tar",
        "manifest.json",
    ]

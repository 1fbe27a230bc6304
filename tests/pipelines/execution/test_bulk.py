"""Shards built by Ray Data: quarantine, going on after a failure, and whose error comes out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from upath import UPath

from pipelines.execution.bulk import build_shards, write_shards
from pipelines.execution.cluster import FAST
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardTask, read_record, tasks_of
from pipelines.execution.shard_writer import (
    KeptWriter,
    KilledWorkersError,
    ShardJob,
    ShardWriter,
)
from pipelines.store.artifact_store import Build
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import read_shard
from tests.pipelines.processors import Closes, Echo, refuse_to_start
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.errors import BadSampleError, ConfigError, TransientError


@pytest.fixture
def runtime(tmp_path: Path, local_ray: None) -> Runtime:
    """One worker, which takes the shards in turn."""
    return quiet_runtime(tmp_path, render_workers=1)


@pytest.fixture
def build(runtime: Runtime) -> Build:
    return runtime.store.begin("echo", 1, {}, {})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "asked.log"


def _asked(log: Path) -> list[str]:
    return sorted(log.read_text().split())


Items = dict[str, tuple[str, ...]]


def _tasks(items: Items) -> list[ShardTask]:
    return [ShardTask(name) for name in items]


def test_every_task_becomes_a_shard_and_what_is_bad_is_set_aside(
    runtime: Runtime, build: Build, log: Path
) -> None:
    items = {"a": ("one", "bad", "two"), "b": ("bad",), "c": ("three",)}
    made = build_shards(runtime, build, _tasks(items), partial(Echo, log, items))
    made.verify()
    assert made.manifest.counts == {"samples": 3, "shards": 3}
    keys = [s["__key__"] for path in made.shards() for s in read_shard(path)]
    assert keys == ["a-one", "a-two", "c-three"]
    quarantined = [(q.key, q.reason) for q in made.quarantined()]
    assert quarantined == [("bad", "it asked for it")] * 2
    assert [task.name for task in tasks_of(made)] == ["a", "b", "c"]
    assert (read_record(made.folder, "a").samples, read_record(made.folder, "b").samples) == (2, 0)
    names = {path.name for path in made.folder.iterdir()}
    assert names == {f"{n}.{e}" for n in "abc" for e in ("tar", "sums", "record.json")} | {
        "manifest.json",
        "quarantine.jsonl",
    }


def test_without_workers_shards_are_made_here_and_are_the_same(
    runtime: Runtime, build: Build, log: Path, tmp_path: Path
) -> None:
    items: Items = {"a": ("one", "bad", "two"), "b": ("bad",)}
    there = build_shards(runtime, build, _tasks(items), partial(Echo, log, items))
    here = quiet_runtime(tmp_path / "here")
    again = here.store.begin("echo", 1, {}, {})
    made = build_shards(here, again, _tasks(items), partial(Echo, log, items))
    assert made.manifest.files == there.manifest.files
    assert made.quarantined() == there.quarantined()
    with pytest.raises(BadSampleError, match="no echo without a wall"):
        write_shards(here, again, [ShardTask("d")], refuse_to_start)
    with pytest.raises(ConfigError, match="is not understood"):
        write_shards(here, again, [ShardTask("c")], partial(Echo, log, {"c": ("refuse",)}))
    assert not list(again.folder.glob("c.*tar"))


def test_a_second_run_makes_only_the_shards_that_are_missing(
    runtime: Runtime, build: Build, log: Path
) -> None:
    """The first is done when the second fails."""
    items: Items = {"a": ("one",), "b": ("refuse",), "c": ("three",)}
    tasks, processor = _tasks(items), partial(Echo, log, items)
    with pytest.raises(ConfigError) as raised:
        build_shards(runtime, build, tasks, processor)
    assert str(raised.value) == "echo.item: 'refuse' is not understood"  # not Ray's traceback
    assert runtime.store.artifacts() == []
    finished = {task.name for task in tasks if (build.folder / f"{task.name}.record.json").exists()}
    assert "a" in finished
    assert "b" not in finished
    log.with_suffix(".mended").touch()
    log.unlink()
    made = build_shards(runtime, build, tasks, processor)
    assert set(_asked(log)) == {"a", "b", "c"} - finished
    assert made.manifest.counts == {"samples": 3, "shards": 3}
    assert write_shards(runtime, build, tasks, refuse_to_start) == [
        read_record(made.folder, name) for name in "abc"
    ]


def test_a_stage_that_cannot_be_built_says_why(runtime: Runtime, build: Build) -> None:
    with pytest.raises(BadSampleError) as raised:
        write_shards(runtime, build, [ShardTask("a")], refuse_to_start)
    assert str(raised.value) == "no echo without a wall"


def test_a_worker_that_dies_is_replaced(runtime: Runtime, build: Build, log: Path) -> None:
    (build.folder / "a.attempt").write_text("3")  # of an earlier run, which does not count
    made = build_shards(
        runtime, build, [ShardTask("a")], partial(Echo, log, {"a": ("one", "die once")})
    )
    assert made.manifest.counts == {"samples": 2, "shards": 1}
    assert _asked(log) == ["a", "a"]


def test_a_shard_that_kills_every_worker_ends_the_job(
    runtime: Runtime, build: Build, log: Path
) -> None:
    with pytest.raises(TransientError, match="shard a: its worker was killed 3 times"):
        write_shards(runtime, build, [ShardTask("a")], partial(Echo, log, {"a": ("die",)}))
    assert _asked(log) == ["a", "a", "a"]
    assert not (build.folder / "a.record.json").exists()


def test_the_fault_of_one_worker_puts_off_its_shard_only(
    tmp_path: Path, local_ray: None, log: Path
) -> None:
    runtime = quiet_runtime(tmp_path, render_workers=2)
    build = runtime.store.begin("echo", 1, {}, {})
    items: Items = {"a": ("lose once",), "b": ("one",), "c": ("two",)}
    made = build_shards(runtime, build, _tasks(items), partial(Echo, log, items))
    assert made.manifest.counts == {"samples": 3, "shards": 3}
    assert _asked(log) == ["a", "a", "b", "c"]


def test_a_fault_of_all_workers_ends_the_job(tmp_path: Path, local_ray: None, log: Path) -> None:
    """Also if it is met by fewer shards than workers, again and again."""
    runtime = quiet_runtime(tmp_path, render_workers=2)
    build = runtime.store.begin("echo", 1, {}, {})
    items: Items = {"a": ("lose",), "b": ("one",)}
    with pytest.raises(TransientError, match="the network of this worker fails"):
        build_shards(runtime, build, _tasks(items), partial(Echo, log, items))
    assert 4 <= len(_asked(log)) <= 6
    assert [path.name for path in build.folder.glob("*.attempt")] == []


def test_workers_lost_with_their_nodes_are_not_the_shards_fault(
    runtime: Runtime, build: Build, log: Path
) -> None:
    items: Items = {"a": ("die once",)}
    writer = ShardWriter(ShardJob(partial(Echo, log, items), build.folder, {}))
    log.with_suffix(".died").touch()
    lost = [f"gone{number}" for number in range(9)]
    (build.folder / "a.attempt").write_text("\n".join(lost))
    writer.write(ShardTask("a"))
    assert read_record(build.folder, "a").samples == 1
    (build.folder / "b.attempt").write_text("\n".join([*lost, "gone9"]))
    with pytest.raises(KilledWorkersError, match="was killed 10 times"):
        writer.write(ShardTask("b"))


def _made_by(artifact: Artifact) -> list[str]:
    """What `Closes` says of every shard."""
    return [bytes(s["txt"]).decode() for path in artifact.shards() for s in read_shard(path)]


def test_the_next_step_has_the_same_process_and_a_processor_of_its_own(
    runtime: Runtime, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    tasks = [ShardTask(name) for name in "ab"]
    steps = [
        _made_by(
            build_shards(
                runtime, runtime.store.begin(step, 1, {}, {}), tasks, partial(Closes, closed)
            )
        )
        for step in ("first", "second")
    ]
    first, second = (set(made) for made in steps)
    assert (len(first), len(second)) == (1, 1)  # one worker, one processor a step
    assert first != second
    assert {made.split()[0] for made in first} == {made.split()[0] for made in second}
    assert set(closed.read_text().splitlines()) >= first


def test_a_kept_processor_is_closed_by_the_next_job_or_when_none_comes(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.touch()
    folder = UPath(tmp_path)
    jobs = [ShardJob(partial(Closes, closed), folder, {}) for _ in range(2)]
    kept = KeptWriter(idle_s=0.2)
    for job, name in zip((jobs[0], jobs[0], jobs[1]), "abc", strict=True):
        with kept.of(job) as writer:
            writer.write(ShardTask(name))
            time.sleep(0.3)  # a shard that takes longer than what ends an idle writer
    made = [bytes(s["txt"]).decode() for name in "abc" for s in read_shard(folder / f"{name}.tar")]
    assert made[0] == made[1] != made[2]
    assert closed.read_text().splitlines() == made[:1]
    deadline = time.monotonic() + 30
    while closed.read_text().splitlines() != [made[0], made[2]]:
        assert time.monotonic() < deadline, "the idle writer was not closed"
        time.sleep(0.05)
    with kept.of(jobs[1]) as writer:
        assert writer.processor is None  # built again by its next shard


def test_a_worker_gives_back_what_a_large_object_took(tmp_path: Path) -> None:
    """In a process with the malloc settings of a local Ray, which keep what is free."""
    measure = (
        "import functools, pathlib, psutil; from upath import UPath\n"
        "from pipelines.execution.shard_tasks import ShardTask\n"
        "from pipelines.execution.shard_writer import ShardJob, ShardWriter\n"
        "from tests.pipelines.processors import Hoard\n"
        f"folder = UPath({str(tmp_path)!r})\n"
        "writer = ShardWriter(ShardJob(functools.partial(Hoard, 400), folder, {}))\n"
        "before = psutil.Process().memory_info().rss\n"
        "writer.write(ShardTask('a'))\n"
        "print((psutil.Process().memory_info().rss - before) / 2**20)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", measure],
        env=os.environ | FAST, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert float(done.stdout) < 100, "MB"
    assert read_record(UPath(tmp_path), "a").samples == 1

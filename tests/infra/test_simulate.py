"""The simulation of large jobs: what it must obey, and that infra/scale.md has its figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from upath import UPath

from infra.simulate import (
    BYTES_PER_SHARD,
    PER_SHARD,
    Job,
    driver_s,
    requests_per_shard,
    row,
    simulate,
)
from pipelines.execution.bulk import build_shards
from pipelines.execution.shard_tasks import ShardTask, tasks_of
from pipelines.objects import job as objects
from pipelines.objects.step import ObjectsConfig
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from pipelines.store.files import made_once
from pipelines.store.shards import Sample
from tests.pipelines import small_mirror
from tests.pipelines.quiet import quiet_runtime
from tests.pipelines.slow_store import registered

SCALE = Path(__file__).parents[2] / "infra" / "scale.md"
SMALL = Job(objects=40_000, workers=16)
CALM = {"worker_deaths_per_h": 1e-9, "nodes_lost_per_h": 1e-9}


@dataclass
class Copies:
    """A later step: reads its input's shard and writes as many samples."""

    made: Artifact

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        for sample in self.made.read(task.name):
            yield {"__key__": sample["__key__"], "bin": b""}


@pytest.fixture
def flow_mirror(tmp_path: Path) -> Path:
    return made_once(tmp_path / "mirror", small_mirror.write)


def test_the_page_has_the_figures_that_come_out() -> None:
    """Of the smallest of its jobs; `python -m infra.simulate` prints all."""
    job = Job(800_000, 1000)
    assert row(job, simulate(job)) in SCALE.read_text().splitlines()


def test_the_same_job_takes_the_same_time() -> None:
    assert simulate(SMALL) == simulate(SMALL)


def test_without_faults_and_limits_the_workers_divide_the_work() -> None:
    """Rendering: 79 shards over 16 workers, so that the last round is not full."""
    calm = replace(SMALL, **CALM, slow_share=0.0, object_bytes=1.0)
    found = simulate(calm)["renders"]
    work_h = 40_448 * 0.201 * 1.063 / 3600  # the mean of a lognormal of spread .35 over its median
    assert work_h / 16 < found.hours < 1.15 * work_h / 16
    assert found.again == 0
    assert found.busy > 0.9


def test_faults_cost_time_and_no_shard_is_lost() -> None:
    """A run ends only when every shard is made."""
    rough = replace(SMALL, worker_deaths_per_h=2.0, nodes_lost_per_h=2.0)
    calm, found = simulate(replace(SMALL, **CALM))["renders"], simulate(rough)["renders"]
    assert found.again > 0
    assert found.hours > calm.hours


@pytest.mark.parametrize("per_s", [5.0, 50.0])
def test_no_number_of_workers_asks_more_than_the_source_allows(per_s: float) -> None:
    found = simulate(replace(SMALL, workers=512, source_per_s=per_s, **CALM))["objects"]
    assert found.hours * 3600 >= 40_000 / per_s
    assert found.limit == "the source's requests"


def test_the_driver_asks_side_by_side() -> None:
    """Minutes where three requests a shard, one by one, took more than an hour."""
    job = Job(10_000_000, 64)
    first, *later = job.steps()
    assert driver_s(job, first) < 180
    assert all(driver_s(job, step) < 60 for step in later)
    assert 3 * job.shards * job.store_answer_s > 3600


def test_the_requests_of_a_shard_are_those_that_the_jobs_make(
    flow_mirror: Path, tmp_path: Path
) -> None:
    """Of two sizes of the same job the difference, so that what is asked once drops out."""
    found: dict[int, tuple[int, int]] = {}
    for per_shard in (4, 1):
        with registered() as asked:
            runtime = replace(quiet_runtime(tmp_path), store=Store(UPath("memory:///store")))
            config = ObjectsConfig(mirror=str(flow_mirror), objects_per_shard=per_shard)
            made = objects.run(runtime, config)
            in_objects = asked()
            build = runtime.store.begin("copies", 1, {}, {"objects": made})
            asked()
            build_shards(runtime, build, tasks_of(made), partial(Copies, made))
            in_later = asked()
            found[len(made.shards())] = (in_objects.total(), in_later.total())
            assert (in_objects["list"], in_later["list"]) == (3, 2)  # as `driver_s` has it
    (few, of_few), (many, of_many) = found.items()
    first, later, *_ = Job(1, 1).steps()
    for step, fewer, more in zip((first, later), of_few, of_many, strict=True):
        assert (more - fewer) == requests_per_shard(step) * (many - few)


def test_shards_are_bounded_by_objects_and_by_bytes() -> None:
    """As `ObjectsConfig` has it by default."""
    config = ObjectsConfig()
    assert (config.objects_per_shard, config.mb_per_shard * 1e6) == (PER_SHARD, BYTES_PER_SHARD)
    sizes = {1e5: 512, 10e6: 204, 5e9: 1}
    for size, count in sizes.items():
        assert Job(1000, 1, object_bytes=size).per_shard == count

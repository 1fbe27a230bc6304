"""A simulation of the job at sizes that nobody has run: `python -m infra.simulate` prints tables.

Workers take shards one by one, as `pipelines.execution.bulk` has it: a shard whose worker dies, or
whose node is taken away, is made again; the source and the store have limits of requests; some
objects take the whole time that is allowed. Service times are those measured on the shipped objects
(tests/benchmarks/RESULTS.md); what is assumed instead is marked so in `Job`. Seeds are fixed, so
that the same figures come out.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import simpy

from pipelines.store.requests import AT_A_TIME

PER_SHARD, BYTES_PER_SHARD = 512, 2048e6  # at most, as the settings of `objects` have it
WORKERS_PER_NODE = 8
VIEWS = 12


@dataclass(frozen=True)
class Step:
    """One bulk step, in seconds of one worker and bytes per object.

    Attributes:
        median_s, spread: of one object's lognormal time.
        reads, writes: bytes per object.
        asks: requests of the source per object.
        on_gpus: whether its workers are the GPUs.
    """

    name: str
    median_s: float
    spread: float
    reads: float
    writes: float
    asks: int = 0
    on_gpus: bool = False


@dataclass(frozen=True)
class Job:
    """What the simulation is told; `assumed` in a comment means that nobody measured it here."""

    objects: int
    workers: int
    source_per_s: float = 3500.0  # assumed: requests a bucket answers; a public hub some 10
    object_bytes: float = 10e6  # assumed: those shipped have 93 kB, Objaverse's are heavier
    worker_bytes_per_s: float = 150e6  # assumed: 10 Gbit/s for 8 workers
    worker_deaths_per_h: float = 0.01  # assumed: of memory, of libraries
    nodes_lost_per_h: float = 0.05  # assumed: spot nodes
    restart_s: float = 60.0  # assumed: until a worker of another node goes on
    slow_share: float = 0.001  # assumed: objects that take all the time that is allowed
    slow_s: float = 60.0
    store_answer_s: float = 0.03  # assumed: one request of an object store
    views_per_gpu_s: float = 250.0  # estimated: one thread decodes PNGs for a GPU
    seed: int = 0

    @property
    def per_shard(self) -> int:
        return min(PER_SHARD, max(1, int(BYTES_PER_SHARD / self.object_bytes)))

    @property
    def shards(self) -> int:
        return math.ceil(self.objects / self.per_shard)

    @property
    def gpus(self) -> int:
        return max(1, self.workers // WORKERS_PER_NODE)

    def steps(self) -> tuple[Step, ...]:
        return (
            Step("objects", 0.15, 0.5, self.object_bytes, self.object_bytes, asks=1),
            Step("renders", 0.201, 0.35, self.object_bytes, 536e3),
            Step("shards", 0.0028, 0.2, 536e3, 223e3),
            Step("targets", VIEWS / self.views_per_gpu_s, 0.05, 223e3, 134e3, on_gpus=True),
        )


@dataclass
class Found:
    """One step's outcome.

    Attributes:
        hours: from its first shard to its last record.
        busy: share of the workers' time in which they worked.
        source: share of the time in which the source's limit was used up.
        network: share of the workers' time that the transfer alone would take.
        again: shards that were begun more than once.
    """

    hours: float
    busy: float
    source: float
    network: float
    again: int

    @property
    def limit(self) -> str:
        """Name what the step waits for."""
        if self.source > 0.9:
            return "the source's requests"
        if self.network > 0.5:
            return "the network"
        return "its workers" if self.busy > 0.8 else "its last shards"


class _Limit:
    """Requests that are answered at a rate, in the order in which they come."""

    def __init__(self, env: simpy.Environment, per_s: float) -> None:
        self.env, self.per_s, self.free_at, self.asked = env, per_s, 0.0, 0

    def wait_s(self, requests: int) -> float:
        self.free_at = max(self.env.now, self.free_at) + requests / self.per_s
        self.asked += requests
        return self.free_at - self.env.now


class _Run:
    """One step on its workers."""

    def __init__(self, job: Job, step: Step) -> None:
        self.job, self.step = job, step
        self.env = simpy.Environment()
        self.rng = np.random.default_rng([job.seed, job.objects, job.workers, len(step.name)])
        self.limit = _Limit(self.env, job.source_per_s)
        self.waiting = list(range(job.shards))
        self.left, self.again, self.worked_s, self.moved_s = job.shards, 0, 0.0, 0.0
        self.working: set[Any] = set()
        self.done: Any = self.env.event()

    def __call__(self) -> Found:
        count = min(self.job.gpus if self.step.on_gpus else self.job.workers, self.job.shards)
        workers = [self.env.process(self._worker()) for _ in range(count)]
        for first in range(0, count, WORKERS_PER_NODE):
            self.env.process(self._lose(workers[first : first + WORKERS_PER_NODE]))
        self.env.run(until=self.done)
        seconds = float(self.env.now)
        return Found(
            hours=(seconds + driver_s(self.job, self.step)) / 3600,
            busy=self.worked_s / (seconds * count),
            source=self.limit.asked / self.limit.per_s / seconds,
            network=self.moved_s / (seconds * count),
            again=self.again,
        )

    def _worker(self) -> Generator[Any, Any, None]:
        while self.left:
            if not self.waiting:
                yield self.env.timeout(self.job.restart_s)  # a shard may come back
                continue
            shard, needed_s = self.waiting.pop(), self._needed_s()
            began, own = self.env.now, self.env.active_process
            self.working.add(own)
            dies_after_s = self.rng.exponential(3600 / self.job.worker_deaths_per_h)
            try:
                yield self.env.timeout(min(needed_s, dies_after_s))
                if dies_after_s < needed_s:
                    raise simpy.Interrupt("the worker died")  # as the loss of its node does
                self.left -= 1
                if not self.left:
                    self.done.succeed()
            except simpy.Interrupt:
                self.working.discard(own)
                self.waiting.append(shard)
                self.again += 1
                yield self.env.timeout(self.job.restart_s)
            else:
                self.working.discard(own)
                self.worked_s += self.env.now - began

    def _needed_s(self) -> float:
        """Draw how long a shard takes: its objects one by one, its bytes, or the source's limit."""
        step, job, count = self.step, self.job, self.job.per_shard
        own = step.median_s * self.rng.lognormal(0, step.spread, count).sum()
        if step.name == "renders":
            own += job.slow_s * self.rng.binomial(count, job.slow_share)
        moved = count * (step.reads + step.writes) / job.worker_bytes_per_s
        self.moved_s += moved
        wait = self.limit.wait_s(step.asks * count) if step.asks else 0.0
        return max(float(own) + moved, wait)

    def _lose(self, workers: Sequence[Any]) -> Generator[Any, Any, None]:
        """Take the node of some workers away now and then; another one comes."""
        while True:
            yield self.env.timeout(self.rng.exponential(3600 / self.job.nodes_lost_per_h))
            for worker in workers:
                if worker in self.working:
                    worker.interrupt()


def simulate(job: Job) -> dict[str, Found]:
    """Run the job's steps, each of which waits for the one before it."""
    return {step.name: _Run(job, step)() for step in job.steps()}


def driver_s(job: Job, step: Step) -> float:
    """Seconds for which the driver waits for the store in a step, at most.

    Listings, a page of 1,000 names after the other (tar, sums, record and plan of each shard): of
    what is done, and of what is left over at the end. Side by side: the records are read. `objects`
    lists once more, to plan, and writes and deletes the plans.
    """
    pages = math.ceil(4 * job.shards / 1000)
    listings, each_shard = (3, 3) if step.asks else (2, 1)
    return (listings * pages + each_shard * job.shards / AT_A_TIME) * job.store_answer_s


def driver_mb(job: Job) -> float:
    """Memory of the driver: 250 MB of libraries, and 500 bytes an object (bench_scaling)."""
    return 250 + job.objects * 500 / 1e6


def store_requests(job: Job) -> int:
    """Requests of the store, without listings: the sum of `requests_per_shard`."""
    return sum(requests_per_shard(step) for step in job.steps()) * job.shards


def requests_per_shard(step: Step) -> int:
    """Of each shard the input is read, tar, sums and record are written; the record is looked for
    and read; the count of attempts is looked for twice, written and deleted. In `objects` the input
    is a plan, which is written and deleted as well. A tar that is read by ranges asks for more.
    """
    return 12 if step.asks else 10


def markdown() -> Iterator[str]:
    """Yield the lines of the tables."""
    yield "| objects | workers, GPUs | objects | renders | shards | targets | in all | again |"
    yield "|---|---|---|---|---|---|---|---|"
    limits = []
    for objects in (800_000, 10_000_000):
        for workers in (8, 64, 256, 1000):
            job = Job(objects, workers)
            found = simulate(job)
            yield row(job, found)
            limits.append((job, found))
    yield ""
    yield "| objects | workers | objects waits for | renders | shards | targets |"
    yield "|---|---|---|---|---|---|"
    for job, found in limits:
        named = " | ".join(one.limit for one in found.values())
        yield f"| {_short(job.objects)} | {job.workers} | {named} |"
    yield ""
    yield (
        "| objects | shards | read and written | store's requests | the driver waits, `objects` | "
        "a later step | its memory |"
    )
    yield "|---|---|---|---|---|---|---|"
    for objects in (800_000, 10_000_000):
        job = Job(objects, 64)
        first, later, *_ = job.steps()
        moved = sum(step.reads + step.writes for step in job.steps()) * objects / 1e12
        yield (
            f"| {_short(objects)} | {job.shards:,} | {moved:.1f} TB | {store_requests(job):,} | "
            f"{driver_s(job, first):.0f} s | {driver_s(job, later):.0f} s | "
            f"{driver_mb(job):,.0f} MB |"
        )
    yield ""
    hub = {objects: Job(objects, 64, source_per_s=10) for objects in (800_000, 10_000_000)}
    for objects, job in hub.items():
        fetched = _Run(job, job.steps()[0])()
        yield (
            f"From a hub of 10 requests a second, fetching {_short(objects)} objects takes "
            f"{fetched.hours:,.0f} hours on 64 workers; it waits for {fetched.limit}."
        )
    calm = replace(Job(10_000_000, 1000), worker_deaths_per_h=1e-9, nodes_lost_per_h=1e-9)
    hours = simulate(calm)["renders"].hours
    yield f"Without faults, rendering 10 M objects on 1,000 workers takes {hours:.1f} hours."


def row(job: Job, found: dict[str, Found]) -> str:
    """Write one line of the first table."""
    hours = [one.hours for one in found.values()]
    cells = [_short(job.objects), f"{job.workers}, {job.gpus}", *map(_time, [*hours, sum(hours)])]
    return f"| {' | '.join(cells)} | {sum(one.again for one in found.values())} |"


def _time(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


def _short(objects: int) -> str:
    return f"{objects // 1000:,} k" if objects < 1_000_000 else f"{objects // 1_000_000} M"


if __name__ == "__main__":
    for line in markdown():
        print(line, flush=True)

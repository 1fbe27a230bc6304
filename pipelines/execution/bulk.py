"""bulk: builds an artifact's shards in parallel; the only module that knows Ray Data.

A bulk step is a list of shard tasks and a processor that turns a task into samples. Each task
writes one tar and then a small record beside it. A shard is done if it has a record, so a killed
job goes on at the shards that have none. A sample that can never be used is yielded as
`Quarantined` and listed in the record with its reason; the job goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pipelines.execution import logs
from pipelines.execution.cluster import connect
from pipelines.execution.runtime import Pool, Runtime
from pipelines.execution.shard_tasks import (
    ShardProcessor,
    ShardRecord,
    ShardTask,
    attempt_path,
    read_records,
    record_name,
    samples_by_shard,
)
from pipelines.execution.shard_writer import (
    KilledWorkersError,
    ShardJob,
    ShardWriter,
    write_row,
)
from pipelines.execution.told import told
from pipelines.store.artifact_store import Build
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.files import names_in, storage_errors
from pipelines.store.requests import remove
from vitlens_core.errors import StorageError, TransientError

logger = logging.getLogger(__name__)
_TRIES_OF_A_WORKER = 2  # shards in a row that each worker gives up before the fault is everybody's


def build_shards(
    runtime: Runtime,
    build: Build,
    tasks: list[ShardTask],
    processor: Callable[[], ShardProcessor],
    *,
    encodes: bool = False,
) -> Artifact:
    """Make every shard, then commit the artifact. Arguments and errors: `write_shards`."""
    return commit_shards(build, write_shards(runtime, build, tasks, processor, encodes=encodes))


def commit_shards(
    build: Build, records: Sequence[ShardRecord], refused: Sequence[Quarantined] = ()
) -> Artifact:
    """Commit the artifact of finished shards; `refused` are items that were in no task."""
    return build.commit(
        files=[r.file for r in records],
        counts={"samples": sum(r.samples for r in records), "shards": len(records)},
        quarantined=[*refused, *(q for r in records for q in r.quarantined)],
        made_with=sorted({r.made_with for r in records if r.made_with}),
        samples=samples_by_shard(records),
    )


def write_shards(
    runtime: Runtime,
    build: Build,
    tasks: list[ShardTask],
    processor: Callable[[], ShardProcessor],
    *,
    encodes: bool = False,
) -> list[ShardRecord]:
    """Run every task that has no record yet, and return the records of all tasks.

    Args:
        processor: builds the processor inside each worker; must be picklable.
        encodes: whether the workers hold towers (`encode_workers`), else `render_workers`.

    A network's or disk's fault is local to a worker at first: the shard is made later, by whichever
    worker is free. The job ends when no worker makes a shard any more.

    Raises:
        VitlensError: what a processor raised, as the nearest class of `vitlens_core.errors`.
        WorkerError: a processor failed in a way that nobody foresaw.
        KilledWorkersError: the workers of a shard were killed repeatedly.
        TransientError, StorageError: a source or the store fails for all workers.
    """
    resources = runtime.resources
    pool = resources.encode_pool if encodes else resources.render_pool
    faults = _Faults(pool)
    with storage_errors(build.folder), runtime.progress(build.step, len(tasks), "shards") as bar:
        # One listing: a request for each of 20,000 shards takes half an hour of an object store.
        present = names_in(build.folder)
        pending = [task for task in tasks if record_name(task.name) not in present]
        bar.advance(len(tasks) - len(pending))
        # Attempts count within one run: the user may have lowered what takes the memory.
        attempts = (attempt_path(build.folder, task.name) for task in pending)
        remove(attempt for attempt in attempts if attempt.name in present)
        job = ShardJob(processor, build.folder, logs.place())
        while pending:
            put_off = []
            for task, error in _made(runtime, job, pending, pool, encodes=encodes):
                if error is None:
                    faults.forget()
                    bar.advance()
                else:
                    faults.require_local(task, error)
                    put_off.append(task)
            pending = put_off
        return read_records(build.folder, [task.name for task in tasks])


class _Faults:
    """Tells the fault of one worker from a fault that all of them meet."""

    def __init__(self, pool: Pool) -> None:
        self._most = pool.workers * _TRIES_OF_A_WORKER if pool.workers > 1 else 1
        self._in_a_row = 0

    def forget(self) -> None:
        """A shard was made, so that the source and the store work."""
        self._in_a_row = 0

    def require_local(self, task: ShardTask, error: Exception) -> None:
        """Raise `error` unless another worker, or a later time, may make the shard."""
        self._in_a_row += 1
        is_local = isinstance(error, TransientError | StorageError)
        if isinstance(error, KilledWorkersError) or not is_local or self._in_a_row == self._most:
            raise error
        logger.warning("shard %s is put off, as its worker met a fault: %s", task.name, error)


def _made(
    runtime: Runtime, job: ShardJob, tasks: list[ShardTask], pool: Pool, *, encodes: bool
) -> Iterator[tuple[ShardTask, Exception | None]]:
    """Yield every task once it is made, or with the error that it met."""
    if pool.workers == 0:
        yield from ((task, None) for task in _made_here(job, tasks))
        return
    connect(runtime.resources)
    import ray.data  # late: it takes seconds, and settings are checked without it

    workers = min(pool.workers, len(tasks))
    rows = [{"name": task.name} for task in tasks]
    shards = ray.data.from_items(rows, override_num_blocks=len(rows))
    if encodes:
        # What holds a tower, or a GPU, ends with its job.
        dataset = shards.map(
            ShardWriter,  # ty: ignore[invalid-argument-type]  Ray's stubs forget callable classes
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
        )
    else:
        # Ray's processes stay for the next step: starting actors took each step 3.6 s.
        dataset = shards.map(
            partial(write_row, job),
            compute=ray.data.TaskPoolStrategy(size=workers),
            num_cpus=pool.cpus,
        )
    for row in dataset.iter_rows():
        error: Exception | None = told(row["error"]) if row["error"] else None
        if row["killed"]:
            error = KilledWorkersError(str(error))
        yield ShardTask(row["name"]), error


def _made_here(job: ShardJob, tasks: list[ShardTask]) -> Iterator[ShardTask]:
    """Make one shard after the other in this process.

    A small job ends before a worker of Ray would have started.
    """
    writer = ShardWriter(job)
    try:
        for task in tasks:
            writer.write(task)
            yield task
    finally:
        writer.close()

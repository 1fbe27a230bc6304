"""bulk: builds an artifact's shards in parallel; the only module that knows Ray Data.

A bulk step is a list of shard tasks and a processor that turns a task into samples. Each task
writes one tar and then a small record beside it. A shard is done if it has a record, so a killed
job goes on at the shards that have none. A sample that can never be used is yielded as
`Quarantined` and listed in the record with its reason; the job goes on.
"""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field
from upath import UPath

from pipelines.execution.cluster import connect
from pipelines.execution.runtime import Pool, Runtime
from pipelines.store.artifacts import Artifact, Build, Quarantined
from pipelines.store.files import FileEntry, storage_errors, write_atomic
from pipelines.store.shards import Sample, write_shard
from vitlens_core.errors import StorageError, TransientError, VitlensError

logger = logging.getLogger(__name__)
_ATTEMPTS = 3  # workers that may be killed by one shard
# A shard loses this many nodes at most: pre-emptions are not its fault, but one that takes a whole
# node's memory must end too.
_NODES_LOST = 10
_READERS = 32  # records that are read at a time
_TRIES_OF_A_WORKER = 2  # shards in a row that each worker gives up before the fault is everybody's


@dataclass(frozen=True)
class ShardTask:
    """One shard to make, by its name (`train-00000`).

    The worker reads what it is made of from an input's shard or a plan, so that neither this
    process nor Ray holds anything per sample.
    """

    name: str


class ShardRecord(BaseModel):
    """The result of one task; written after its tar."""

    model_config = ConfigDict(frozen=True)

    file: FileEntry = Field(description="the shard's tar")
    samples: int = Field(description="number of samples in the tar")
    quarantined: tuple[Quarantined, ...] = Field((), description="samples left out of the tar")
    made_with: str = Field("", description="what made it, where bytes depend on it: a renderer")


class KilledWorkersError(TransientError):
    """A shard killed its workers again and again; another worker would not help."""


class ShardProcessor(Protocol):
    """Turns a task into samples; it is built once per worker, so it may load a model."""

    def samples(self, task: ShardTask) -> Iterable[Sample | Quarantined]: ...


@runtime_checkable
class Closable(Protocol):
    """A processor with child processes that must be ended with it."""

    def close(self) -> None: ...


@runtime_checkable
class MadeWith(Protocol):
    """A processor whose bytes depend on a device; it names that device after its first sample."""

    made_with: str


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
        VitlensError: what a processor raised, unchanged.
        KilledWorkersError: the workers of a shard were killed repeatedly.
        TransientError, StorageError: a source or the store fails for all workers.
    """
    resources = runtime.resources
    pool = resources.encode_pool if encodes else resources.render_pool
    faults = _Faults(pool)
    with storage_errors(build.folder), runtime.progress(build.step, len(tasks), "shards") as bar:
        # One listing: a request for each of 20,000 shards takes half an hour of an object store.
        present = {path.name for path in build.folder.iterdir()}
        pending = [task for task in tasks if _record_name(task.name) not in present]
        bar.advance(len(tasks) - len(pending))
        # Attempts count within one run: the user may have lowered what takes the memory.
        for task in pending:
            if (attempt := _attempt_path(build.folder, task.name)).name in present:
                attempt.unlink(missing_ok=True)
        while pending:
            put_off = []
            for task, error in _made(runtime, build.folder, pending, processor, pool):
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

    def require_local(self, task: ShardTask, error: VitlensError) -> None:
        """Raise `error` unless another worker, or a later time, may make the shard."""
        self._in_a_row += 1
        is_local = isinstance(error, TransientError | StorageError)
        if isinstance(error, KilledWorkersError) or not is_local or self._in_a_row == self._most:
            raise error
        logger.warning("shard %s is put off, as its worker met a fault: %s", task.name, error)


def is_done(folder: UPath, name: str) -> bool:
    """Whether a shard is made."""
    return _record_path(folder, name).exists()


def read_record(folder: UPath, name: str) -> ShardRecord:
    return ShardRecord.model_validate_json(_record_path(folder, name).read_text())


def read_records(folder: UPath, names: Iterable[str]) -> list[ShardRecord]:
    """Read records, several at a time: an object store answers each after some 30 ms."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="records") as readers:
        return list(readers.map(partial(read_record, folder), names))


def tasks_of(artifact: Artifact) -> list[ShardTask]:
    """Return one task per shard of an upstream artifact; shards keep their names."""
    return [ShardTask(path.name.removesuffix(".tar")) for path in artifact.shards()]


def _attempt_path(folder: UPath, name: str) -> UPath:
    return folder / f"{name}.attempt"


def _record_path(folder: UPath, name: str) -> UPath:
    return folder / _record_name(name)


def _record_name(name: str) -> str:
    return f"{name}.record.json"


class _ShardWriter:
    """The Ray Data actor: one processor, one task at a time."""

    def __init__(self, make_processor: Callable[[], ShardProcessor], folder: UPath) -> None:
        self.make_processor = make_processor
        self.processor: ShardProcessor | None = None
        self.folder = folder

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make the shard that a row names.

        Ray turns exceptions into tracebacks, so our own errors are returned as values.
        """
        try:
            self.write(ShardTask(row["name"]))
        except VitlensError as error:
            return {**row, "error": pickle.dumps(error)}
        return {**row, "error": b""}

    def write(self, task: ShardTask) -> None:
        """Make one shard and its record (`StorageError`, and what the processor raises)."""
        with storage_errors(self.folder):
            if not is_done(self.folder, task.name):  # Ray repeats tasks of a lost node
                self._make(task)

    def _make(self, task: ShardTask) -> None:
        attempt = self._count_attempt(task)
        self.processor = self.processor or self.make_processor()
        bad: list[Quarantined] = []
        try:
            good = _set_aside(self.processor.samples(task), bad)
            entry, count = write_shard(self.folder / f"{task.name}.tar", good)
            named = self.processor.made_with if isinstance(self.processor, MadeWith) else ""
            record = ShardRecord(file=entry, samples=count, quarantined=tuple(bad), made_with=named)
            write_atomic(_record_path(self.folder, task.name), record.model_dump_json().encode())
        finally:  # an error is no death; and another run may have made the same shard meanwhile
            attempt.unlink(missing_ok=True)

    def _count_attempt(self, task: ShardTask) -> UPath:
        """Count an attempt on disk, where the death of this worker does not erase it.

        Ray replaces killed workers without end, so a shard that keeps killing them must fail. Of an
        attempt whose node is gone, the node was taken away, which is not the shard's fault.
        """
        path = _attempt_path(self.folder, task.name)
        nodes = path.read_text().split() if path.exists() else []
        present = _present_nodes() if nodes else set()
        killed = [node for node in nodes if node in present]
        if len(killed) >= _ATTEMPTS or len(nodes) >= _NODES_LOST:
            raise KilledWorkersError(
                f"shard {task.name}: its worker was killed {len(nodes)} times, most likely for "
                "lack of memory; lower the number of workers (resources.render_workers, "
                "encode_workers) or objects.objects_per_shard"
            )
        write_atomic(path, "\n".join([*nodes, _own_node()]).encode())
        return path


_HERE = "here"  # a process without Ray


def _ray_here() -> Any | None:
    """Return Ray if this process is connected; a process that works alone does not import it."""
    ray = sys.modules.get("ray")
    return ray if ray is not None and ray.is_initialized() else None


def _own_node() -> str:
    ray = _ray_here()
    return ray.get_runtime_context().get_node_id() if ray else _HERE


def _present_nodes() -> set[str]:
    """Return the ids of the nodes that are still there."""
    ray = _ray_here()
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]} if ray else {_HERE}


def _set_aside(
    samples: Iterable[Sample | Quarantined], quarantined: list[Quarantined]
) -> Iterator[Sample]:
    """Yield the good samples one by one; append the others to `quarantined`."""
    for sample in samples:
        if isinstance(sample, Quarantined):
            quarantined.append(sample)
        else:
            yield sample


def _made(
    runtime: Runtime,
    folder: UPath,
    tasks: list[ShardTask],
    processor: Callable[[], ShardProcessor],
    pool: Pool,
) -> Iterator[tuple[ShardTask, VitlensError | None]]:
    """Yield every task once it is made, or with the error that it met."""
    if pool.workers == 0:
        yield from ((task, None) for task in _made_here(folder, tasks, processor))
        return
    connect(runtime.resources)
    import ray.data  # late: it takes seconds, and settings are checked without it

    workers = min(pool.workers, len(tasks))
    rows = [{"name": task.name} for task in tasks]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _ShardWriter,  # ty: ignore[invalid-argument-type]  Ray's stubs forget callable classes
        fn_constructor_args=(processor, folder),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
    )
    for row in dataset.iter_rows():
        error = pickle.loads(row["error"]) if row["error"] else None  # noqa: S301  of our worker
        yield ShardTask(row["name"]), error


def _made_here(
    folder: UPath, tasks: list[ShardTask], processor: Callable[[], ShardProcessor]
) -> Iterator[ShardTask]:
    """Make one shard after the other in this process.

    A small job ends before a worker of Ray would have started.
    """
    writer = _ShardWriter(processor, folder)
    try:
        for task in tasks:
            writer.write(task)
            yield task
    finally:
        if isinstance(writer.processor, Closable):
            writer.processor.close()


def original_error(error: BaseException) -> BaseException:
    """Return the `VitlensError` of a worker from inside Ray's exceptions, or else `error`."""
    current = error
    while current is not None:
        if isinstance(current, VitlensError):
            return current
        failures = getattr(current, "worker_failures", None) or {}
        current = (
            getattr(current, "cause", None)
            or current.__cause__
            or next(iter(failures.values()), None)
        )
    return error

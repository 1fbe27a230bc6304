"""bulk: builds an artifact's shards in parallel; the only module that knows Ray Data.

A bulk step is a list of shard tasks and a processor that turns a task into samples. Each task
writes one tar and then a small record beside it. A shard is done if it has a record, so a killed
job goes on at the shards that have none. A sample that can never be used is yielded as
`Quarantined` and listed in the record with its reason; the job goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field
from upath import UPath

from pipelines.execution import logs
from pipelines.execution.cluster import connect
from pipelines.execution.runtime import Runtime
from pipelines.execution.told import tell, told
from pipelines.store.artifacts import Artifact, Build, Quarantined
from pipelines.store.files import FileEntry, storage_errors, write_atomic
from pipelines.store.shards import Sample, write_shard
from vitlens_core.errors import TransientError, VitlensError

logger = logging.getLogger(__name__)
_ATTEMPTS = 3  # workers that may be killed by one shard


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


class ShardProcessor(Protocol):
    """Turns a task into samples; it is built once per worker, so it may load a model."""

    def samples(self, task: ShardTask) -> Iterable[Sample | Quarantined]: ...


@runtime_checkable
class Closable(Protocol):
    """A processor with child processes that must be ended with it."""

    def close(self) -> None: ...


def build_shards(
    runtime: Runtime,
    build: Build,
    tasks: list[ShardTask],
    processor: Callable[[], ShardProcessor],
    *,
    needs_gpu: bool = False,
) -> Artifact:
    """Make every shard, then commit the artifact. Arguments and errors: `write_shards`."""
    return commit_shards(build, write_shards(runtime, build, tasks, processor, needs_gpu=needs_gpu))


def commit_shards(
    build: Build, records: Sequence[ShardRecord], refused: Sequence[Quarantined] = ()
) -> Artifact:
    """Commit the artifact of finished shards; `refused` are items that were in no task."""
    return build.commit(
        files=[r.file for r in records],
        counts={"samples": sum(r.samples for r in records), "shards": len(records)},
        quarantined=[*refused, *(q for r in records for q in r.quarantined)],
    )


def write_shards(
    runtime: Runtime,
    build: Build,
    tasks: list[ShardTask],
    processor: Callable[[], ShardProcessor],
    *,
    needs_gpu: bool = False,
) -> list[ShardRecord]:
    """Run every task that has no record yet, and return the records of all tasks.

    Args:
        processor: builds the processor inside each worker; must be picklable.
        needs_gpu: whether a worker takes `resources.gpus_per_worker`.

    Raises:
        VitlensError: what a processor raised, as the nearest class of `vitlens_core.errors`.
        WorkerError: a processor failed in a way that nobody foresaw.
        TransientError: the workers of a shard were killed repeatedly.
        StorageError: the store cannot be read or written.
    """
    with storage_errors(build.folder), runtime.progress(build.step, len(tasks), "shards") as bar:
        pending = [task for task in tasks if not is_done(build.folder, task.name)]
        bar.advance(len(tasks) - len(pending))
        # Attempts count within one run: the user may have lowered what takes the memory.
        for task in pending:
            _attempt_path(build.folder, task.name).unlink(missing_ok=True)
        for _ in _run(runtime, build.folder, pending, processor, needs_gpu):
            bar.advance()
    return [read_record(build.folder, task.name) for task in tasks]


def is_done(folder: UPath, name: str) -> bool:
    """Whether a shard is made."""
    return _record_path(folder, name).exists()


def read_record(folder: UPath, name: str) -> ShardRecord:
    return ShardRecord.model_validate_json(_record_path(folder, name).read_text())


def tasks_of(artifact: Artifact) -> list[ShardTask]:
    """Return one task per shard of an upstream artifact; shards keep their names."""
    return [ShardTask(path.name.removesuffix(".tar")) for path in artifact.shards()]


def _attempt_path(folder: UPath, name: str) -> UPath:
    return folder / f"{name}.attempt"


def _record_path(folder: UPath, name: str) -> UPath:
    return folder / f"{name}.record.json"


class _ShardWriter:
    """The Ray Data actor: one processor, one task at a time."""

    def __init__(
        self,
        make_processor: Callable[[], ShardProcessor],
        folder: UPath,
        place: Mapping[str, str],
    ) -> None:
        self.make_processor = make_processor
        self.processor: ShardProcessor | None = None
        self.folder = folder
        self.place = place  # of its records: the run and step of the process that asked for it

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make the shard that a row names.

        Ray would pickle exceptions, so they are returned as text.
        """
        logs.to_stderr()
        try:
            record = self.write(ShardTask(row["name"]))
        except Exception as error:  # raised again by `_run`
            return {"record": "", "error": tell(error)}
        return {"record": record.model_dump_json(), "error": ""}

    def write(self, task: ShardTask) -> ShardRecord:
        """Make one shard and its record (`StorageError`, and what the processor raises)."""
        with storage_errors(self.folder):
            if is_done(self.folder, task.name):
                return read_record(self.folder, task.name)  # Ray repeats tasks of a lost node
            with logs.where(**self.place, shard=task.name):
                return self._make(task)

    def _make(self, task: ShardTask) -> ShardRecord:
        attempt, began = self._count_attempt(task), time.monotonic()
        self.processor = self.processor or self.make_processor()
        bad: list[Quarantined] = []
        good = _set_aside(self.processor.samples(task), bad)
        entry, count = write_shard(self.folder / f"{task.name}.tar", good)
        record = ShardRecord(file=entry, samples=count, quarantined=tuple(bad))
        write_atomic(_record_path(self.folder, task.name), record.model_dump_json().encode())
        attempt.unlink(missing_ok=True)  # another run may have made the same shard meanwhile
        figures = logs.facts(
            samples=count,
            quarantined=len(bad),
            bytes=entry.size_bytes,
            seconds=round(time.monotonic() - began, 3),
        )
        logger.info("made", extra=figures)
        return record

    def _count_attempt(self, task: ShardTask) -> UPath:
        """Count an attempt on disk, where the death of this worker does not erase it.

        Ray replaces killed workers without end, so a shard that keeps killing them must fail.
        """
        path = _attempt_path(self.folder, task.name)
        before = int(path.read_text()) if path.exists() else 0
        if before == _ATTEMPTS:
            raise TransientError(
                f"shard {task.name}: its worker was killed {before} times, most likely for lack of "
                "memory; lower resources.data_workers or objects.objects_per_shard"
            )
        write_atomic(path, str(before + 1).encode())
        return path


def _set_aside(
    samples: Iterable[Sample | Quarantined], quarantined: list[Quarantined]
) -> Iterator[Sample]:
    """Yield the good samples one by one; append the others to `quarantined`."""
    for sample in samples:
        if isinstance(sample, Quarantined):
            quarantined.append(sample)
        else:
            yield sample


def _run(
    runtime: Runtime,
    folder: UPath,
    tasks: list[ShardTask],
    processor: Callable[[], ShardProcessor],
    needs_gpu: bool,
) -> Iterator[ShardRecord]:
    if not tasks:
        return
    if runtime.resources.data_workers == 0:
        yield from _run_here(folder, tasks, processor)
        return
    connect(runtime.resources)
    import ray.data  # late: it takes seconds, and settings are checked without it

    workers = min(runtime.resources.data_workers, len(tasks))
    rows = [{"name": task.name} for task in tasks]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _ShardWriter,  # ty: ignore[invalid-argument-type]  Ray's stubs forget callable classes
        fn_constructor_args=(processor, folder, logs.place()),
        compute=ray.data.ActorPoolStrategy(size=workers),
        # A pool as large as the CPU count would starve Ray Data's own tasks and deadlock.
        num_cpus=0.5,
        num_gpus=runtime.resources.gpus_per_worker if needs_gpu else 0,
    )
    for row in dataset.iter_rows():
        if row["error"]:
            raise told(row["error"])
        yield ShardRecord.model_validate_json(row["record"])


def _run_here(
    folder: UPath, tasks: list[ShardTask], processor: Callable[[], ShardProcessor]
) -> Iterator[ShardRecord]:
    """Make one shard after the other in this process.

    A small job ends before a worker of Ray would have started.
    """
    writer = _ShardWriter(processor, folder, logs.place())
    try:
        for task in tasks:
            yield writer.write(task)
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

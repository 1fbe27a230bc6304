"""shard_writer: makes one shard after the other in a worker, and counts workers that die of it."""

from __future__ import annotations

import ctypes
import logging
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock, Timer
from types import ModuleType
from uuid import uuid4

from upath import UPath

from pipelines.execution import logs
from pipelines.execution.shard_tasks import (
    Closable,
    MadeWith,
    ShardProcessor,
    ShardRecord,
    ShardTask,
    attempt_path,
    is_done,
    record_path,
)
from pipelines.execution.told import tell
from pipelines.store.artifacts import Quarantined
from pipelines.store.files import storage_errors, write_atomic
from pipelines.store.shards import Sample, write_shard
from vitlens_core.errors import TransientError

logger = logging.getLogger(__name__)
_ATTEMPTS = 3  # workers that may be killed by one shard


# A shard loses this many nodes at most: pre-emptions are not its fault, but one that takes a whole
# node's memory must end too.
_NODES_LOST = 10


class KilledWorkersError(TransientError):
    """A shard killed its workers again and again; another worker would not help."""

    may_pass = False


@dataclass(frozen=True)
class ShardJob:
    """What all shards of one job have in common.

    Attributes:
        make_processor: builds the processor inside each worker; must be picklable.
        folder: of the artifact.
        place: of the workers' log records: the run and step of the process that asked for it.
        id: of this job alone, even among those of the same artifact.
    """

    make_processor: Callable[[], ShardProcessor]
    folder: UPath
    place: Mapping[str, str]
    id: str = field(default_factory=lambda: uuid4().hex)


class ShardWriter:
    """Makes shards of one job with one processor, one at a time."""

    def __init__(self, job: ShardJob) -> None:
        self.make_processor, self.folder, self.place = job.make_processor, job.folder, job.place
        self.processor: ShardProcessor | None = None

    def __call__(self, row: Mapping[str, str]) -> dict[str, object]:
        """Make the shard that a row names.

        Ray would pickle exceptions, so they are returned as text.
        """
        logs.to_stderr()
        try:
            self.write(ShardTask(row["name"]))
        except Exception as error:  # judged, and raised again, by `bulk`
            killed = isinstance(error, KilledWorkersError)
            return {**row, "error": tell(error), "killed": killed}
        return {**row, "error": "", "killed": False}

    def close(self) -> None:
        """End the processor's child processes."""
        if isinstance(self.processor, Closable):
            self.processor.close()
        self.processor = None

    def write(self, task: ShardTask) -> None:
        """Make one shard and its record (`StorageError`, and what the processor raises)."""
        with storage_errors(self.folder):
            if is_done(self.folder, task.name):  # Ray repeats tasks of a lost node
                return
            with logs.where(**self.place, shard=task.name):
                self._make(task)

    def _make(self, task: ShardTask) -> None:
        attempt, began = self._count_attempt(task), time.monotonic()
        self.processor = self.processor or self.make_processor()
        bad: list[Quarantined] = []
        try:
            good = _set_aside(self.processor.samples(task), bad)
            entry, count = write_shard(self.folder / f"{task.name}.tar", good)
            named = self.processor.made_with if isinstance(self.processor, MadeWith) else ""
            record = ShardRecord(file=entry, samples=count, quarantined=tuple(bad), made_with=named)
            write_atomic(record_path(self.folder, task.name), record.model_dump_json().encode())
        finally:  # an error is no death; and another run may have made the same shard meanwhile
            attempt.unlink(missing_ok=True)
            _give_back_memory()
        figures = logs.facts(
            samples=count,
            quarantined=len(bad),
            bytes=entry.size_bytes,
            seconds=round(time.monotonic() - began, 3),
        )
        logger.info("made", extra=figures)

    def _count_attempt(self, task: ShardTask) -> UPath:
        """Count an attempt on disk, where the death of this worker does not erase it.

        Ray replaces killed workers without end, so a shard that keeps killing them must fail. Of an
        attempt whose node is gone, the node was taken away, which is not the shard's fault.
        """
        path = attempt_path(self.folder, task.name)
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


class KeptWriter:
    """The writer of the job that this process works for: Ray keeps the processes of its tasks.

    It is closed when a shard of another job comes, or none for a while: a processor's children
    and what it holds must not stay while a lens is trained.
    """

    def __init__(self, idle_s: float = 10.0) -> None:
        self._idle_s = idle_s
        self._lock = Lock()  # against its own timer
        self._job, self._writer = "", None
        self._timer: Timer | None = None

    @contextmanager
    def of(self, job: ShardJob) -> Generator[ShardWriter]:
        """Lend the job's writer."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            if self._writer is None or self._job != job.id:
                self._close()
                self._job, self._writer = job.id, ShardWriter(job)
            try:
                yield self._writer
            finally:
                self._timer = timer = Timer(self._idle_s, lambda: self._close_after(timer))
                timer.daemon = True
                timer.start()

    def _close_after(self, timer: Timer) -> None:
        with self._lock:
            if self._timer is timer:  # else a shard came just before
                self._close()

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


_KEPT = KeptWriter()


def write_row(job: ShardJob, row: Mapping[str, str]) -> dict[str, object]:
    """Make the shard that a row names, in a task of Ray Data, as `ShardWriter` does."""
    with _KEPT.of(job) as writer:
        return writer(row)


def _give_back_memory() -> None:
    """Return what is free to the system: the malloc settings of a local Ray keep gigabytes of it.

    They are for tensors, whose pages are used again at once; a large object's are not.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


_HERE = "here"  # a process without Ray


def _ray_here() -> ModuleType | None:
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

"""remote: runs functions in Ray tasks, on the nodes that have what they need.

Evaluation and benchmarks hold towers, and a training may want a table of neighbours first, so that
they want a GPU; the driver of a cluster has none. An index's graphs are built side by side.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipelines.execution.cluster import connect, is_local
from pipelines.execution.runtime import Pool, Resources, Runtime
from pipelines.execution.told import tell, told
from pipelines.store.artifact_store import FinishedStore, NotMadeError, Store
from pipelines.store.artifacts import Artifact
from pipelines.store.home import Home

Item = TypeVar("Item")
Made = TypeVar("Made")
_RETRIES = 3  # nodes that may be lost; what a job raises is not tried again


@dataclass(frozen=True)
class _Call:
    """A job's arguments in a form that can be sent: a runtime holds a terminal."""

    module: str
    store: Store
    resources: Resources
    home: Home
    settings: tuple[object, ...]
    inputs: Mapping[str, Artifact]


def has_own_node(pool: Pool) -> bool:
    """Whether a pool's work is done where Ray places it, rather than in this process."""
    return bool(pool.workers) and (pool.gpus > 0 or not is_local())


def run_as_task(
    runtime: Runtime,
    job: Callable[..., Artifact],
    settings: tuple[object, ...],
    inputs: Mapping[str, Artifact],
) -> Artifact:
    """Run a job as a task with `encode_gpus` GPUs; a finished artifact is found without Ray.

    Raises:
        VitlensError: what the job raised, as the nearest class of `vitlens_core.errors`.
        WorkerError: the job failed in a way that nobody foresaw.
        RayError: the task's nodes were lost repeatedly.
    """
    store = FinishedStore(runtime.store.root)
    try:
        looking = Runtime(store, runtime.resources, runtime.console, runtime.home)
        return job(looking, *settings, **inputs)
    except NotMadeError:
        if isinstance(runtime.store, FinishedStore):
            raise
    connect(runtime.resources)
    import ray  # late: it takes seconds, and a finished artifact needs none of it

    call = _Call(
        job.__module__, runtime.store, runtime.resources, runtime.home, settings, dict(inputs)
    )
    task: Any = ray.remote(
        num_cpus=1, num_gpus=runtime.resources.encode_gpus, max_retries=_RETRIES
    )(_run)
    made = ray.get(task.remote(call))
    if isinstance(made, str):
        raise told(made)
    return made


def each_as_task(
    runtime: Runtime, call: Callable[[Item], Made], items: Sequence[Item]
) -> Iterator[Made]:
    """Yield what a function returns for each item, in order, from tasks on the workers' CPUs.

    A single item, or all of them where `render_workers` is 0, is for this process.

    Args:
        call: must be picklable, as what it returns.

    Raises:
        VitlensError, WorkerError, RayError: as `run_as_task`.
    """
    pool = runtime.resources.render_pool
    if pool.workers == 0 or len(items) < 2:
        yield from map(call, items)
        return
    task = _task(runtime.resources, pool)
    for sent in [task.remote(call, item) for item in items]:
        yield _received(sent)


def call_as_task(
    resources: Resources, pool: Pool, call: Callable[[Item], Made], item: Item
) -> Made:
    """Return what a function returns, from a task that takes what one worker of the pool takes.

    Where the pool has no node of its own (`has_own_node`), it is called in this process.

    Args:
        call: must be picklable, as what it returns.

    Raises:
        VitlensError, WorkerError, RayError: as `run_as_task`.
    """
    if not has_own_node(pool):
        return call(item)
    return _received(_task(resources, pool).remote(call, item))


def _task(resources: Resources, pool: Pool) -> Any:
    connect(resources)
    import ray

    return ray.remote(num_cpus=pool.cpus, num_gpus=pool.gpus, max_retries=_RETRIES)(_called)


def _received(sent: Any) -> Any:
    """Return what a sent call made (errors: what it raised, as told)."""
    import ray

    made, error = ray.get(sent)
    if error is not None:
        raise told(error)
    return made


def _called(call: Callable[[Item], Made], item: Item) -> tuple[Made | None, str | None]:
    try:
        return call(item), None
    except Exception as error:
        return None, tell(error)


def _run(call: _Call) -> Artifact | str:
    """Return the job's artifact, or its error as text: Ray would pickle what is raised."""
    try:
        job = importlib.import_module(call.module)
        runtime = Runtime(call.store, call.resources, home=call.home)
        return job.run(runtime, *call.settings, **call.inputs)
    except Exception as error:
        return tell(error)

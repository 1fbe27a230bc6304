"""remote: runs functions in Ray tasks, on the nodes that have what they need.

Evaluation and benchmarks hold towers, so that they want a GPU; the driver of a cluster has none. An
index's graphs are built side by side.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipelines.execution.cluster import connect, is_local
from pipelines.execution.runtime import Resources, Runtime
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


def has_own_node(resources: Resources) -> bool:
    """Whether jobs that hold towers run where Ray places them, rather than in this process."""
    return bool(resources.encode_workers) and (resources.encode_gpus > 0 or not is_local())


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
    connect(runtime.resources)
    import ray

    task: Any = ray.remote(num_cpus=pool.cpus, max_retries=_RETRIES)(_called)
    for sent in [task.remote(call, item) for item in items]:
        made, error = ray.get(sent)
        if error is not None:
            raise told(error)
        yield made


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

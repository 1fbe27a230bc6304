"""retries: a step is tried again after a fault of the infrastructure, and after no other.

A cluster that lost a node, a store or a server that does not answer: later it works. A wrong
setting, a damaged file, a full disk or a failed gate stay what they are, and fail the run at once.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module

import dagster as dg

from pipelines.execution import logs
from pipelines.execution.shard_writer import KilledWorkersError
from pipelines.store.text import redacted
from vitlens_core.errors import StorageError, TransientError, VitlensError
from workflows.workplace import Retries

FROM = "vitlens/from"
COMMAND_LINE = "command line"
# What a person must mend: more space, rights, another folder.
_FOR_PEOPLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)
# Of clients that are imported where they are used: module, and names of its exceptions.
_OF_CLIENTS = {
    "ray.exceptions": ("RayActorError", "WorkerCrashedError", "NodeDiedError", "RaySystemError",
                       "ObjectLostError", "OutOfMemoryError", "GetTimeoutError"),
    "requests.exceptions": ("ConnectionError", "Timeout"),
    "botocore.exceptions": ("ConnectionError", "HTTPClientError"),
    "aiohttp": ("ClientConnectionError",),
    "sqlalchemy.exc": ("OperationalError",),
    "psycopg2": ("OperationalError",),
}  # fmt: skip
_SERVER_ERROR = 500


@contextmanager
def retried(
    context: dg.OpExecutionContext | dg.AssetExecutionContext, retries: Retries
) -> Generator[None]:
    """Ask Dagster to try the step again if the infrastructure failed in the block.

    Records of the block are logged as those of the run.

    The last attempt raises what it raised, as does a run of the command line: a person is there,
    and sees at once what does not answer.

    Raises:
        dg.RetryRequested: the step is tried again.
    """
    logs.to_stderr()
    try:
        with logs.where(run=context.run.run_id):
            yield
    except Exception as error:
        by_person = context.run.tags.get(FROM) == COMMAND_LINE
        if by_person or context.retry_number >= retries.number or not of_infrastructure(error):
            raise
        policy = _policy(retries)
        pause_s = policy.calculate_delay(context.retry_number + 1)
        reason = redacted(f"{type(error).__name__}: {error}")
        context.log.warning(f"tried again in {pause_s:.0f} s: {reason}")
        raise dg.RetryRequested(policy.max_retries, pause_s) from error


def _policy(retries: Retries) -> dg.RetryPolicy:
    return dg.RetryPolicy(
        max_retries=retries.number,
        delay=retries.pause_s,
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,  # so that runs that failed together do not come together
    )


def of_infrastructure(error: BaseException) -> bool:
    """Whether an error may be gone later without anybody changing anything."""
    causes = list(_causes(error))
    if any(isinstance(each, OSError) and each.errno in _FOR_PEOPLE for each in causes):
        return False
    if any(isinstance(each, PermissionError | FileNotFoundError) for each in causes):
        return False
    ours = next((each for each in causes if isinstance(each, VitlensError)), None)
    if ours is not None:
        # A shard that killed every worker would kill the next ones too.
        killed = isinstance(ours, KilledWorkersError)
        return isinstance(ours, TransientError | StorageError) and not killed
    return any(isinstance(each, _of_clients()) or _is_server_error(each) for each in causes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it came from, and what Ray found in a worker."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        hidden = None if current.__suppress_context__ else current.__context__
        current = getattr(current, "cause", None) or current.__cause__ or hidden


def _of_clients() -> tuple[type[BaseException], ...]:
    # A client that was not imported cannot have raised anything.
    found = [
        getattr(import_module(module), name)
        for module, names in _OF_CLIENTS.items()
        if module in sys.modules
        for name in names
    ]
    return (ConnectionError, TimeoutError, *found)


def _is_server_error(error: BaseException) -> bool:
    """Whether MLflow's server answered that it failed itself."""
    if type(error).__name__ != "RestException":
        return False
    status = getattr(error, "get_http_status_code", lambda: 0)()
    return status >= _SERVER_ERROR

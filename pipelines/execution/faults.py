"""faults: tells what may be gone later by itself from what somebody must mend.

A cluster that lost a node, a store or a server that does not answer: later it works. A wrong
setting, a damaged file, a full disk or a failed gate stay what they are.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Protocol, runtime_checkable

from vitlens_core.errors import StorageError, TransientError, VitlensError

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


@runtime_checkable
class _Judged(Protocol):
    """An error whose maker knew: `told` by a worker that saw its causes, say."""

    may_pass: bool | None


def of_infrastructure(error: BaseException) -> bool:
    """Whether an error may be gone later without anybody changing anything."""
    causes = list(_causes(error))
    stated = [each.may_pass for each in causes if isinstance(each, _Judged)]
    if known := [may_pass for may_pass in stated if may_pass is not None]:
        return known[0]
    if any(isinstance(each, OSError) and each.errno in _FOR_PEOPLE for each in causes):
        return False
    if any(isinstance(each, PermissionError | FileNotFoundError) for each in causes):
        return False
    ours = next((each for each in causes if isinstance(each, VitlensError)), None)
    if ours is not None:
        return isinstance(ours, TransientError | StorageError)
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

"""transfer: copies one file from any filesystem to the local disk, checked and whole.

Failures that may pass (connection, 5xx, 429 with its Retry-After, short bodies, stalls) are
retried with exponential back-off and jitter; others (404, refused) are reported at once.
"""

import errno
import os
import random
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import fsspec
from fsspec.callbacks import Callback
from fsspec.exceptions import FSTimeoutError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from pipelines.store.files import client_errors, no_connection
from vitlens_core import caps
from vitlens_core.errors import BadSampleError, TransientError

# Failures of this machine, not of the mirror: neither a retry nor quarantine would help.
_DISK_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class FetchPolicy:
    """Retries and timeouts for a remote mirror. A local mirror is read once."""

    attempts: int = 6
    initial_wait_s: float = 1.0  # doubles with each attempt; up to as much again is random
    max_wait_s: float = 60.0
    max_retry_after_s: float = 300.0  # no retry if the server asks for a longer pause
    connect_timeout_s: float = 5.0
    stall_timeout_s: float = 30.0  # longest time between two reads
    attempt_timeout_s: float = 900.0  # ends a transfer that is slow but never stalls

    def wait_s(self, state: RetryCallState) -> float:
        """Return the seconds before the next attempt: the server's pause, or else back-off."""
        error = state.outcome.exception() if state.outcome else None
        jitter_s = random.uniform(0, self.initial_wait_s)  # noqa: S311  spreads load, no secret
        if isinstance(error, _PauseError):
            return error.retry_after_s + jitter_s
        return (
            min(self.max_wait_s, self.initial_wait_s * 2 ** (state.attempt_number - 1)) + jitter_s
        )

    def retrying(self) -> Retrying:
        """Return a caller that retries a function and at last raises its last error."""
        return Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=self.wait_s,
            retry=retry_if_exception(self.is_worth_retrying),
            reraise=True,
        )

    def is_worth_retrying(self, error: BaseException) -> bool:
        if isinstance(error, _PauseError):
            return error.retry_after_s <= self.max_retry_after_s
        return isinstance(error, TransientError)


def fetch(
    filesystem: fsspec.AbstractFileSystem,
    source: str,
    destination: Path,
    size_bytes: int | None,
    policy: FetchPolicy,
    *,
    durable: bool = True,
) -> None:
    """Copy `source` to `destination`, with as many attempts as `policy` allows.

    Args:
        size_bytes: the size the file must have, if known.
        durable: whether the file must survive a loss of power; for a small file, waiting for the
            disk takes most of the time.

    Raises:
        BadSampleError: no such file, refused, or (`WrongSizeError`) of the wrong size each time.
        TransientError: all retries failed.
    """
    retrying = policy.retrying()
    try:
        retrying(_copy_whole, filesystem, source, destination, size_bytes, durable)
    except _OtherSizeError as error:
        raise WrongSizeError(str(error)) from error
    except TransientError as error:
        attempts = retrying.statistics["attempt_number"]
        raise TransientError(f"{error} (given up after attempt {attempts})") from error


class _PauseError(TransientError):
    """The server asked for a pause of a certain length."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(f"{message}, retry after {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class _OtherSizeError(TransientError):
    """The file has another size than annotated: retried, and a `WrongSizeError` in the end."""


class WrongSizeError(BadSampleError):
    """Every attempt arrived whole but with another size than annotated."""


class UnreachableError(TransientError):
    """No connection could be made."""


def _copy_whole(
    filesystem: fsspec.AbstractFileSystem,
    source: str,
    destination: Path,
    size_bytes: int | None,
    durable: bool,
) -> None:
    """Make one attempt: copy to a temporary file beside `destination`, check it, rename it."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(f".{destination.name}.{uuid.uuid4().hex}.part")
    progress = _Capped(source, size_bytes)
    try:
        with transfer_errors(source):
            filesystem.get_file(source, str(part), callback=progress)
        _check_size(source, part.stat().st_size, progress.size, size_bytes)
        if durable:
            _sync(part)
        part.replace(destination)
        if durable:
            _sync(destination.parent)  # the new name is an entry of the folder
    finally:
        part.unlink(missing_ok=True)


class _Capped(Callback):
    """Counts what arrives, and ends a transfer that brings more than it may."""

    def __init__(self, source: str, annotated: int | None) -> None:
        super().__init__()
        self._source, self._annotated = source, annotated
        # An annotation is the mirror's too: it allows no endless object.
        self._most = caps.OBJECT_BYTES if annotated is not None else caps.ANNOTATION_BYTES

    def relative_update(self, inc: int = 1) -> None:
        super().relative_update(inc)
        if self._annotated is not None and self.value > self._annotated:
            _check_size(self._source, self.value, None, self._annotated)
        if self.value > self._most:
            raise BadSampleError(
                f"{self._source}: more than {self._most:,} bytes; none is so large"
            )


def _check_size(source: str, found: int, announced: int | None, annotated: int | None) -> None:
    if announced is not None and found != announced:
        raise TransientError(f"{source}: {found:,} of {announced:,} bytes arrived")
    if annotated is not None and found != annotated:
        raise _OtherSizeError(
            f"{source}: found {found:,} bytes, the mirror's annotation says {annotated:,}"
        )


@contextmanager
def transfer_errors(source: str) -> Generator[None]:
    """Turn a filesystem's errors into `BadSampleError` (final) and `TransientError` (retry)."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise BadSampleError(f"{source}: no such file") from error
    except (PermissionError, ValueError) as error:
        raise BadSampleError(f"{source}: {error}") from error
    except aiohttp.ClientResponseError as error:
        raise _response_error(source, error) from error
    except (OSError, *client_errors()) as error:
        # Only a plain OSError: aiohttp's errors of the network are subclasses of it.
        if error.__class__ is OSError and error.errno in _DISK_FAILURES:
            raise
        cause = error  # fsspec hides the client's error behind its own timeout
        if isinstance(error, FSTimeoutError) and error.__cause__ is not None:
            cause = error.__cause__
        kind = UnreachableError if isinstance(cause, no_connection()) else TransientError
        raise kind(f"{source}: {type(cause).__name__}: {cause}") from error


def _response_error(source: str, error: aiohttp.ClientResponseError) -> Exception:
    message = f"{source}: HTTP {error.status} {error.message}"
    # Timeout, too early, too many requests: the only 4xx that a later attempt can change.
    if error.status not in {408, 425, 429} and error.status < 500:
        return BadSampleError(message)
    retry_after_s = _retry_after_s((error.headers or {}).get("Retry-After", ""))
    return TransientError(message) if retry_after_s is None else _PauseError(message, retry_after_s)


def _retry_after_s(header: str) -> float | None:
    """Return the seconds to wait; the header has a number of seconds or a date (RFC 9110, 10.2.3).

    Returns None for any other header.
    """
    if header.isdecimal():
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def has_size(path: Path, size_bytes: int | None) -> bool:
    return size_bytes is not None and path.is_file() and path.stat().st_size == size_bytes


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

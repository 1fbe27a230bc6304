"""told: errors of a worker as text, so that nothing is unpickled where they are raised again.

An error may carry what it found in a stranger's file, and classes with arguments of their own
cannot be unpickled at all. So the driver is told a class of `vitlens_core.errors` and a sentence:
as a value where a task can return one, or else by `ToldError`, which holds nothing but this text.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from vitlens_core import errors

_CHARACTERS = 20_000
_KNOWN = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.VitlensError)
}


class WorkerError(Exception):
    """A worker failed in a way that nobody foresaw; the message is its traceback.

    Attributes:
        headline: the class of the worker's error and its message.
    """

    def __init__(self, reason: str, headline: str = "") -> None:
        super().__init__(reason)
        self.headline = headline or reason


class ToldError(Exception):
    """Carries the text of `tell` through libraries that know of a failure by an exception only.

    Raise it where no other error is handled: one in its context could be pickled with it.
    """


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="nearest class of `vitlens_core.errors`; empty if there is none")
    reason: str = Field(max_length=_CHARACTERS)
    headline: str = Field("", max_length=_CHARACTERS, description="of a traceback")


def tell(error: Exception) -> str:
    """Return an error as JSON: its nearest class of `vitlens_core.errors`, and its sentence."""
    near = next((c.__name__ for c in type(error).__mro__ if _KNOWN.get(c.__name__) is c), "")
    reason = str(error) if near else "".join(traceback.format_exception(error))
    # The end of a traceback says what happened, the beginning of a sentence does.
    reason = reason[:_CHARACTERS] if near else reason[-_CHARACTERS:]
    headline = "" if near else f"{type(error).__name__}: {error}"[:_CHARACTERS]
    return _Told(kind=near, reason=_plain(reason), headline=_plain(headline)).model_dump_json()


def told(text: str) -> errors.VitlensError | WorkerError:
    """Return the error that `tell` has written (`ValueError`: it has not)."""
    found = _Told.model_validate_json(text)
    known = _KNOWN.get(found.kind)
    return known(found.reason) if known else WorkerError(found.reason, found.headline)


def told_by(error: BaseException) -> errors.VitlensError | WorkerError | None:
    """Return what the `ToldError`s inside an exception of Ray tell.

    Of several workers, the one that raised something on purpose counts: those that lose it in the
    middle of an exchange report broken connections. None if a worker failed without telling why,
    since the others' reports would then hide that.
    """
    causes = list(_innermost(error, set()))
    found = [told(str(cause)) for cause in causes if type(cause) is ToldError]
    on_purpose = [each for each in found if isinstance(each, errors.VitlensError)]
    if on_purpose:
        return on_purpose[0]
    return found[0] if found and len(found) == len(causes) else None


def _innermost(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Yield the exceptions below Ray's wrappings, of every worker."""
    seen.add(id(error))
    failures = getattr(error, "worker_failures", None) or {}
    single = (getattr(error, "cause", None), getattr(error, "controller_failure", None))
    below = [each for each in (*single, error.__cause__, *failures.values()) if each is not None]
    if not below:
        yield error
    for each in below:
        if id(each) not in seen:
            yield from _innermost(each, seen)


def _plain(text: str) -> str:
    """Replace lone surrogates, as in names of files that are no UTF-8: JSON cannot hold them."""
    return text.encode(errors="replace").decode()

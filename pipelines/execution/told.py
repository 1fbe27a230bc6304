"""told: errors of a worker as text, so that nothing is unpickled where they are raised again.

An error may carry what it found in a stranger's file, and classes with arguments of their own
cannot be unpickled at all. So the driver is told a class of `vitlens_core.errors` and a sentence.
"""

from __future__ import annotations

import traceback

from pydantic import BaseModel, ConfigDict, Field

from vitlens_core import errors

_CHARACTERS = 20_000
_KNOWN = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.VitlensError)
}


class WorkerError(Exception):
    """A worker failed in a way that nobody foresaw; the message is its traceback."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="nearest class of `vitlens_core.errors`; empty if there is none")
    reason: str = Field(max_length=_CHARACTERS)


def tell(error: Exception) -> str:
    """Return an error as JSON: its nearest class of `vitlens_core.errors`, and its sentence."""
    near = next((c.__name__ for c in type(error).__mro__ if _KNOWN.get(c.__name__) is c), "")
    reason = str(error) if near else "".join(traceback.format_exception(error))
    # The end of a traceback says what happened, the beginning of a sentence does.
    reason = reason[:_CHARACTERS] if near else reason[-_CHARACTERS:]
    return _Told(kind=near, reason=_plain(reason)).model_dump_json()


def told(text: str) -> errors.VitlensError | WorkerError:
    """Return the error that `tell` has written (`ValueError`: it has not)."""
    found = _Told.model_validate_json(text)
    return _KNOWN.get(found.kind, WorkerError)(found.reason)


def _plain(text: str) -> str:
    """Replace lone surrogates, as in names of files that are no UTF-8: JSON cannot hold them."""
    return text.encode(errors="replace").decode()

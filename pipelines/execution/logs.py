"""logs: records as text, or as one line of JSON with the run, step and shard that they are of.

    VITLENS_LOG=json
    {"time": "2026-11-29T05:31:07.201Z", "level": "INFO", "logger": "pipelines.execution.bulk",
     "message": "made", "run": "5c0e…", "step": "renders", "shard": "train-00003", "samples": 256}

Promises  secrets in URLs are taken out, and a record is one line whatever its message holds.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

from pipelines.store.text import redacted
from vitlens_core.errors import ConfigError, unknown

FORMAT = "VITLENS_LOG"
_FORMS = ("text", "json")
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FACTS = "facts"
_PLACE: ContextVar[Mapping[str, str]] = ContextVar("place", default=MappingProxyType({}))


@contextmanager
def where(**fields: str) -> Generator[None]:
    """State what the records of the block are of: a run, a step, a shard."""
    token = _PLACE.set({**_PLACE.get(), **fields})
    try:
        yield
    finally:
        _PLACE.reset(token)


def place() -> dict[str, str]:
    """Return what the present records are of, to hand it to another process."""
    return dict(_PLACE.get())


def facts(**figures: float | str) -> dict[str, dict[str, float | str]]:
    """Return the `extra` of a record: figures that are fields of their own in JSON."""
    return {_FACTS: figures}


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stated = {**place(), **getattr(record, _FACTS, {})}
        after = "".join(f" {name}={value}" for name, value in stated.items())
        return redacted(super().format(record)) + redacted(after)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
            **place(),
            **getattr(record, _FACTS, {}),
        }
        if record.exc_info:
            line["error"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line, default=str)


def formatter() -> logging.Formatter:
    """Return the formatter that VITLENS_LOG names (`ConfigError`: there is no such)."""
    form = os.environ.get(FORMAT) or "text"
    if form not in _FORMS:
        raise ConfigError(f"{FORMAT}: {unknown('form of logs', form, _FORMS)}")
    return _Json() if form == "json" else _Text(_TEXT)


def to_stderr() -> None:
    """Write the records of this process to its standard error, if VITLENS_LOG is set.

    For a worker or a run whose output somebody collects; a second call changes nothing.
    """
    root = logging.getLogger()
    if not os.environ.get(FORMAT) or any(isinstance(h, _Own) for h in root.handlers):
        return
    handler = _Own()
    handler.setFormatter(formatter())
    root.addHandler(handler)
    logging.getLogger("pipelines").setLevel(logging.INFO)


class _Own(logging.StreamHandler):
    """The handler of `to_stderr`."""

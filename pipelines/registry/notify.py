"""notify: sends notices to the receivers that a home's settings name.

Reads     the file at $VITLENS_NOTICES, or notices.yaml of the home; without one, nobody is told.
Promises  what is told about neither waits long for receivers nor fails because of one, whatever
          it answers: all are told side by side, each is tried twice, and after ten seconds nobody
          is waited for. A failure is one warning, without addresses and secrets; and no notice
          holds secrets of addresses, or grows without limit.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import yaml
from pydantic import TypeAdapter, ValidationError
from tenacity import Retrying, retry_if_not_exception_type, stop_after_attempt, wait_fixed

from pipelines.registry.notices.base import AnyReceiver, Notice, Receiver
from pipelines.store.text import printable, redacted
from vitlens_core.errors import ConfigError

FILE = "VITLENS_NOTICES"
_RECEIVERS = TypeAdapter(tuple[AnyReceiver, ...])
_ATTEMPTS, _PAUSE_S = 2, 1.0
# Of all receivers together, while a promotion or Dagster's sensor waits: Dagster gives a sensor
# 60 s for five runs.
_DEADLINE_S = 10.0
_TITLE, _TEXT, _FACT = 200, 4000, 1000  # characters
_NOT_IN_AN_ID = re.compile(r"[^\w/-]", re.ASCII)  # a dot would make the signed content ambiguous
logger = logging.getLogger(__name__)


def receivers(home: Path) -> tuple[Receiver, ...]:
    """Return the receivers of a home.

    Raises:
        ConfigError: the file is missing or wrong, or a secret that it names is not there.
    """
    named = os.environ.get(FILE)
    path = Path(named) if named else home / "notices.yaml"
    if not named and not path.exists():
        return ()
    try:
        found = _RECEIVERS.validate_python(yaml.safe_load(path.read_bytes()) or ())
        for receiver in found:
            receiver.check()
    except OSError as error:
        raise ConfigError(f"{FILE}={path}: {error.strerror}; name a readable file") from error
    except (ValidationError, yaml.YAMLError) as error:
        # Without the values: somebody may have written a secret there.
        reasons = (
            "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            if isinstance(error, ValidationError)
            else "it is no YAML"
        )
        raise ConfigError(f"{path}: {reasons}; expected a list of receivers") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return found


def send(to: Sequence[Receiver], notice: Notice) -> int:
    """Send a notice to those who asked for its event; return how many took it in time."""
    asked = {number: each for number, each in enumerate(to, 1) if notice.event in each.events}
    shown = _shown(notice)
    outcomes: SimpleQueue[tuple[int, str]] = SimpleQueue()
    for number, receiver in asked.items():
        arguments = (outcomes, number, receiver, shown)
        # As a daemon, since one that never ends must not keep the process.
        Thread(target=_tell, args=arguments, name=f"notice-{number}", daemon=True).start()
    failures = dict.fromkeys(asked, f"no answer within {_DEADLINE_S:.0f} s")
    until = time.monotonic() + _DEADLINE_S
    try:
        for _ in asked:
            number, failures[number] = outcomes.get(timeout=max(0.0, until - time.monotonic()))
    except Empty:
        pass
    for number, failure in failures.items():
        if failure:
            kind = asked[number].kind
            logger.warning(
                "receiver %d (%s) was not told of %s: %s", number, kind, shown.id, failure
            )
    return sum(not failure for failure in failures.values())


def clean(text: str, longest: int) -> str:
    """Return text without secrets of addresses and without control characters, cut to a length.

    In this order: of an address that is cut in its middle, no password would be found.
    """
    found = printable(redacted(text), lines=True)
    return found if len(found) <= longest else f"{found[: longest - 1]}…"


def _shown(notice: Notice) -> Notice:
    facts = {
        name: clean(fact, _FACT) if isinstance(fact, str) else fact
        for name, fact in notice.facts.items()
    }
    return notice.model_copy(
        update={
            "id": _NOT_IN_AN_ID.sub("-", notice.id),
            "title": clean(" ".join(notice.title.split()), _TITLE),
            "text": clean(notice.text, _TEXT),
            "facts": facts,
        }
    )


def _tell(
    outcomes: SimpleQueue[tuple[int, str]], number: int, receiver: Receiver, notice: Notice
) -> None:
    outcomes.put((number, _failure(receiver, notice)))


def _failure(receiver: Receiver, notice: Notice) -> str:
    """Send a notice, and return why it was not taken; empty if it was."""
    attempts = Retrying(
        retry=retry_if_not_exception_type(ConfigError),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_fixed(_PAUSE_S),
        reraise=True,
    )
    try:
        attempts(receiver.send, notice)
    except ConfigError as error:
        return clean(str(error), _FACT)
    except Exception as error:  # whatever it is, others are told and a promotion goes on
        return _named(error)
    return ""


def _named(error: Exception) -> str:
    """Return the type of an error, and its code; its message may hold an address."""
    cause = getattr(error, "reason", None)  # of urllib's
    found = cause if isinstance(cause, Exception) else error
    code = getattr(found, "code", None) or getattr(found, "smtp_code", "")
    return f"{type(found).__name__} {code}".strip()

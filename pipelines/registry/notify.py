"""notify: sends notices to the receivers that a home's settings name.

Reads     the file at $VITLENS_NOTICES, or notices.yaml of the home; without one, nobody is told.
Promises  what is told about neither waits long for a receiver nor fails because of one: each is
          tried twice, and a failure is one warning, without addresses and secrets.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from pipelines.registry.notices.base import AnyReceiver, Notice, Receiver
from pipelines.store.text import printable, redacted
from vitlens_core.errors import ConfigError

FILE = "VITLENS_NOTICES"
_RECEIVERS = TypeAdapter(tuple[AnyReceiver, ...])
_ATTEMPTS, _PAUSE_S = 2, 1.0
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
        found = _RECEIVERS.validate_python(yaml.safe_load(path.read_text()) or ())
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
    """Send a notice to those who asked for its event; return how many took it."""
    shown = notice.model_copy(
        update={
            "title": printable(redacted(notice.title)),
            "text": printable(redacted(notice.text), lines=True),
        }
    )
    return sum(_sent(receiver, shown) for receiver in to if notice.event in receiver.events)


def _sent(receiver: Receiver, notice: Notice) -> bool:
    attempts = Retrying(
        retry=retry_if_exception_type(OSError),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_fixed(_PAUSE_S),
        reraise=True,
    )
    try:
        attempts(receiver.send, notice)
    except (OSError, ConfigError) as error:
        # The type alone: the message of a failed request may hold its address.
        reason = getattr(error, "code", None) or type(error).__name__
        logger.warning("%s was not told of %s: %s", receiver.kind, notice.id, reason)
        return False
    return True

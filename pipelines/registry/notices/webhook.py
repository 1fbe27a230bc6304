"""webhook: posts a notice as JSON, signed as Standard Webhooks are (standardwebhooks.com).

webhook-id         the same when a notice is sent again
webhook-timestamp  seconds since 1970; a receiver refuses what is older than minutes
webhook-signature  v1,<base64 of HMAC-SHA256(key, "id.timestamp.body")>

The secret's file holds `whsec_` and the base64 of the key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.registry.notices._http import post
from pipelines.registry.notices.base import Notice, Receiver, require_safe, secret
from vitlens_core.errors import ConfigError

_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)  # of the specification


class Webhook(Receiver):
    """Settings of a receiver that is a program."""

    kind: Literal["webhook"] = "webhook"
    url: str = Field(description="https address, or http on loopback")
    secret_file: Path = Field(description="file with the secret that signs, whsec_…")

    def check(self) -> None:
        require_safe(self.url, "url of a webhook")
        key_of(self.secret_file)

    def send(self, notice: Notice) -> None:
        at = int(time.time())
        told = {"title": notice.title, "text": notice.text, **notice.facts}
        stated = {"type": notice.event, "timestamp": notice.at.isoformat(), "data": told}
        body = json.dumps(stated).encode()
        signed = {
            "webhook-id": notice.id,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(key_of(self.secret_file), notice.id, at, body),
        }
        post(self.url, body, signed)


def key_of(file: Path) -> bytes:
    """Return the key in a secret's file (`ConfigError`: it holds none)."""
    given = secret(file)
    try:
        key = base64.b64decode(given.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not given.startswith(_PREFIX) or len(key) not in _KEY_BYTES:
        raise ConfigError(
            f"{file}: expected {_PREFIX} and the base64 of {_KEY_BYTES[0]} to {_KEY_BYTES[-1]} "
            f'random bytes; this makes one: echo "{_PREFIX}$(openssl rand -base64 32)"'
        )
    return key


def signature(key: bytes, identity: str, at: int, body: bytes) -> str:
    """Return what a receiver computes as well, and compares.

    Args:
        at: seconds since 1970.
    """
    content = f"{identity}.{at}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()

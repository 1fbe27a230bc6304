"""webhook: posts a notice as JSON, signed as Standard Webhooks and MLflow sign theirs.

webhook-id         the same when a notice is sent again
webhook-timestamp  seconds since 1970; a receiver refuses what is older than minutes
webhook-signature  v1,<base64 of HMAC-SHA256(secret, "id.timestamp.body")>
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.registry.notices._http import post
from pipelines.registry.notices.base import Notice, Receiver, require_safe, secret


class Webhook(Receiver):
    """Settings of a receiver that is a program."""

    kind: Literal["webhook"] = "webhook"
    url: str = Field(description="https address, or http on loopback")
    secret_file: Path = Field(description="file with the secret that signs")

    def check(self) -> None:
        require_safe(self.url, "url of a webhook")
        secret(self.secret_file)

    def send(self, notice: Notice) -> None:
        at = int(time.time())
        told = {"title": notice.title, "text": notice.text, **notice.facts}
        stated = {"type": notice.event, "timestamp": datetime.now(UTC).isoformat(), "data": told}
        body = json.dumps(stated).encode()
        signed = {
            "webhook-id": notice.id,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(secret(self.secret_file), notice.id, at, body),
        }
        post(self.url, body, signed)


def signature(key: str, identity: str, at: int, body: bytes) -> str:
    """Return what a receiver computes as well, and compares."""
    content = f"{identity}.{at}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key.encode(), content, hashlib.sha256)).decode()

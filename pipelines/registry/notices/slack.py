"""slack: posts a notice to an incoming webhook of Slack, or of what takes the same form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.registry.notices._http import post
from pipelines.registry.notices.base import Notice, Receiver, require_safe, secret

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}  # else a message could ping a whole channel


class Slack(Receiver):
    """Settings of a channel; its address is a secret, since whoever knows it can post."""

    kind: Literal["slack"] = "slack"
    url_file: Path = Field(description="file with the address of the incoming webhook")

    def check(self) -> None:
        require_safe(secret(self.url_file), str(self.url_file))

    def send(self, notice: Notice) -> None:
        text = "".join(_ESCAPES.get(c, c) for c in f"{notice.title}\n{notice.text}")
        post(secret(self.url_file), json.dumps({"text": text}).encode())

"""slack: posts a notice to an incoming webhook of Slack, or of what takes the same form."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.registry.notices._http import post
from pipelines.registry.notices.base import Notice, Receiver, require_safe, secret

# Else a message could ping a whole channel, or show one address and link to another. Those that
# take the same form know the mentions without the brackets too.
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MENTION = re.compile(r"(?i)@(?=all|channel|everyone|group|here|room)")
_NO_WIDTH = "\u200b"


class Slack(Receiver):
    """Settings of a channel; its address is a secret, since whoever knows it can post."""

    kind: Literal["slack"] = "slack"
    url_file: Path = Field(description="file with the address of the incoming webhook")

    def check(self) -> None:
        self._address()

    def send(self, notice: Notice) -> None:
        text = "".join(_ESCAPES.get(c, c) for c in f"{notice.title}\n{notice.text}")
        shown = {"text": _MENTION.sub(f"@{_NO_WIDTH}", text), "mrkdwn": False}
        post(self._address(), json.dumps(shown).encode())

    def _address(self) -> str:
        address = secret(self.url_file)
        require_safe(address, str(self.url_file))
        return address

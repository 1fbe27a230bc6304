"""_http: posts JSON; a redirect is refused, since it would take the notice elsewhere."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from http.client import HTTPMessage
from typing import IO

from pipelines.registry.notices.base import TIMEOUT_S


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def post(url: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Post a body of JSON (`OSError`: no answer, or none of success)."""
    given = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, body, given, method="POST")  # noqa: S310  checked before
    with _OPENER.open(request, timeout=TIMEOUT_S):
        return

"""_http: posts JSON; a redirect is refused, since it would take the notice elsewhere.

A proxy that the environment names (HTTPS_PROXY, NO_PROXY) is used, except for this machine: it
would be given the notice in the clear.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from http.client import HTTPMessage
from typing import IO
from urllib.parse import urlsplit

from pipelines.registry.notices.base import TIMEOUT_S, is_loopback


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


def post(url: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Post a body of JSON.

    Args:
        url: as `require_safe` lets it through.

    Raises:
        OSError: no answer, or none of success.
        http.client.HTTPException: what came is no HTTP.
    """
    given = {"Content-Type": "application/json", "User-Agent": "vitlens", **(headers or {})}
    request = urllib.request.Request(url, body, given, method="POST")  # noqa: S310  checked before
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if is_loopback(urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S):
        return

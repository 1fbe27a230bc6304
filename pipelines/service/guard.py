"""guard: what every request passes before any route sees it.

Checks the token, the size of the body as it is declared and as it comes, the time it takes to
come, and how many requests are under way; counts every answer.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from pipelines.service.config import ServiceConfig
from pipelines.service.metrics import Metrics
from pipelines.service.refusal import RefusedError

LOG = logging.getLogger("vitlens.service")
_PAGE = ("/", "/explorer.css", "/explorer.js", "/report.css")
OPEN = (*_PAGE, "/health", "/ready", "/docs", "/openapi.json")
_BUSY_S = "1"
ANSWERED_BY = "vitlens.model"  # in a request's scope: the model it met


class Guard:
    """An ASGI app around another."""

    def __init__(
        self, app: Starlette, config: ServiceConfig, metrics: Metrics, label: Callable[[], str]
    ) -> None:
        """`label` names the present model, for the header `x-vitlens-model` of requests that do
        not say in their scope which one they met."""
        self._app = app
        self._routes = list(app.routes)
        self._limits = config.limits
        self._token = config.token.get_secret_value().encode() if config.token else None
        self._metrics = metrics
        self._label = label
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route, started = self._route(scope), time.monotonic()
        status = 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                label = scope.get(ANSWERED_BY) or self._label()
                header = (b"x-vitlens-model", label.encode("latin-1", "replace"))
                message["headers"] = [*message.get("headers", []), header]
            await send(message)

        self._under_way += 1
        self._metrics.in_flight.inc()
        try:
            await self._admitted(scope, receive, counted)
        finally:
            self._under_way -= 1
            self._metrics.in_flight.dec()
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - started)

    def _route(self, scope: Scope) -> str:
        """A route's path; what anybody could make up is one."""
        found = (r for r in self._routes if r.matches(scope)[0] != Match.NONE)
        return getattr(next(found, None), "path", "other")

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check_token(scope)
            self._check_room(scope)
            self._check_declared(scope)
        except RefusedError as refusal:
            await answer(refusal, self._metrics)(scope, receive, send)
            return
        await self._app(scope, self._limited(receive), send)

    def _check_token(self, scope: Scope) -> None:
        if self._token is None or scope["path"] in OPEN:
            return
        scheme, _, given = _header(scope, b"authorization").partition(b" ")
        # Compared in constant time, and even if the scheme is another.
        fits = hmac.compare_digest(given.strip(), self._token)
        if scheme.lower() != b"bearer" or not fits:
            raise RefusedError(
                401, "token", "no valid token", "header `Authorization: Bearer <token>`"
            )

    def _check_room(self, scope: Scope) -> None:
        if scope["method"] == "POST" and self._under_way > self._limits.waiting:
            waiting = self._limits.waiting
            raise RefusedError(429, "busy", f"{waiting} requests under way", "fewer at a time")

    def _check_declared(self, scope: Scope) -> None:
        declared = _header(scope, b"content-length")
        if declared and not declared.isdigit():
            raise RefusedError(
                400, "body", "a content length that is no number", "bytes of the body"
            )
        if declared:
            self._check_size(int(declared))

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._limits.body_mb * 2**20:
            found = f"a body of {size_bytes / 2**20:.1f} MB or more"
            raise RefusedError(413, "size", found, f"{self._limits.body_mb:g} MB or less")

    def _limited(self, receive: Receive) -> Receive:
        """`receive` that stops a body which grows too large or comes too slowly."""
        deadline = time.monotonic() + self._limits.upload_s
        received, is_whole = 0, False

        async def limited() -> Message:
            nonlocal received, is_whole
            if is_whole:  # from here on this waits for the client to leave
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0, deadline - time.monotonic()))
            except TimeoutError:
                limit = f"within {self._limits.upload_s:g} s"
                raise RefusedError(408, "upload", "a body that did not come", limit) from None
            received += len(message.get("body", b""))
            self._check_size(received)
            is_whole = not message.get("more_body", False)
            return message

        return limited


def answer(refusal: RefusedError, metrics: Metrics) -> JSONResponse:
    """The JSON of a refusal, counted by its reason."""
    metrics.rejected.labels(refusal.reason).inc()
    headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": _BUSY_S}}
    body = {"error": refusal.error, "expected": refusal.expected}
    return JSONResponse(body, refusal.status, headers.get(refusal.status))


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")

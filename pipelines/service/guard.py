"""guard: checks every request before its route, and counts every answer.

It checks the Host and the Origin, so that no page of another site asks through a browser; the
token; the body (`bodies`); and the number of requests in progress, of all and of one client.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from pipelines.service import pages
from pipelines.service.bodies import Bodies, Body, header
from pipelines.service.config import ServiceConfig
from pipelines.service.metrics import Metrics
from pipelines.service.refusal import RefusedError

LOG = logging.getLogger("vitlens.service")
_DOCS = "/static-offline-docs"
_DOCS_FILES = tuple(
    f"{_DOCS}/{name}" for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
)
OPEN = (*pages.FILES, "/health", "/ready", "/docs", "/openapi.json", *_DOCS_FILES)
_BUSY_S = "1"  # Retry-After of a refusal for load
ANSWERED_BY = "vitlens.model"  # key in a request's scope: the model that answers it


class Guard:
    """An ASGI app that wraps another."""

    def __init__(
        self, app: Starlette, config: ServiceConfig, metrics: Metrics, label: Callable[[], str]
    ) -> None:
        """`label` names the present model, for the header `x-vitlens-model` of requests without
        `ANSWERED_BY` in their scope."""
        self._app = app
        self._routes = list(app.routes)
        self._waiting = config.limits.waiting
        self._hosts = {host.lower() for host in config.hosts}
        self._bodies = Bodies(limits=config.limits)
        self._token = config.token.get_secret_value().encode() if config.token else None
        self._metrics = metrics
        self._label = label

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

        self._metrics.in_flight.inc()
        try:
            with self._bodies.opened(scope) as body:
                await self._admitted(scope, receive, counted, body)
        finally:
            self._metrics.in_flight.dec()
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - started)

    def _route(self, scope: Scope) -> str:
        """A route's path; what anybody could make up is one."""
        found = (r for r in self._routes if r.matches(scope)[0] != Match.NONE)
        return getattr(next(found, None), "path", "other")

    async def _admitted(self, scope: Scope, receive: Receive, send: Send, body: Body) -> None:
        try:
            self._check_site(scope)
            self._check_token(scope)
            if scope["method"] == "POST":
                self._check_room(body)
            self._bodies.check_declared(scope)
        except RefusedError as refusal:
            await answer(refusal, self._metrics)(scope, receive, send)
            return
        # Only whole bodies take up room: slow uploads keep nobody out.
        room = self._check_room if scope["method"] == "POST" else None
        await self._app(scope, self._bodies.limited(receive, body, room), send)

    def _check_site(self, scope: Scope) -> None:
        """Refuse names that a hostile page could have pointed here, and forms of other sites."""
        host = header(scope, b"host").decode("latin-1").lower()
        if not _is_address(_name(host)) and _name(host) not in self._hosts:
            found, known = f"host {host[:80]!r}", ", ".join(sorted(self._hosts))
            raise RefusedError(403, "site", found, f"an address, or one of {known} (--allow-host)")
        origin = header(scope, b"origin").decode("latin-1").lower()
        if origin and origin.partition("://")[2] != host:
            raise RefusedError(403, "site", f"a request of {origin[:80]!r}", f"none, or {host}")

    def _check_token(self, scope: Scope) -> None:
        if self._token is None or scope["path"] in OPEN:
            return
        scheme, _, given = header(scope, b"authorization").partition(b" ")
        # Compared in constant time, also for another scheme, so that time reveals nothing.
        fits = hmac.compare_digest(given.strip(), self._token)
        if scheme.lower() != b"bearer" or not fits:
            raise RefusedError(
                401, "token", "no valid token", "header `Authorization: Bearer <token>`"
            )

    def _check_room(self, body: Body) -> None:
        """Refuse work beyond the limit; one client takes up half of it at most."""
        beside = body.is_whole  # then it is counted itself
        if self._bodies.whole() - beside >= self._waiting:
            found = f"{self._waiting} requests under way"
        elif self._bodies.whole(body.client) - beside >= max(1, self._waiting // 2):
            found = f"{self._waiting // 2} requests of one client under way"
        else:
            return
        raise RefusedError(429, "busy", found, "fewer at a time")


def _name(host: str) -> str:
    """Return a Host header's name or address, without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def answer(refusal: RefusedError, metrics: Metrics) -> JSONResponse:
    """Return the JSON answer of a refusal, and count it by its reason."""
    metrics.rejected.labels(refusal.reason).inc()
    headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": _BUSY_S}}
    body = {"error": refusal.error, "expected": refusal.expected}
    return JSONResponse(body, refusal.status, headers.get(refusal.status))

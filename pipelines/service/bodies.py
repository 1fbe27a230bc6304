"""bodies: bounds the bodies of requests while they arrive: size, time, number and all their bytes.

Promises  whoever sends the most gives way: when there are too many unfinished bodies, or too many
          bytes, the oldest unfinished body of the client with the most is ended, so that slow or
          large uploads of one client never keep out another.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.service.config import Limits
from pipelines.service.refusal import RefusedError


@dataclass(eq=False)
class Body:
    """One request's body: how much has come, and whether it has to give way."""

    client: str
    received: int = 0
    is_whole: bool = False
    given_way: asyncio.Event = field(default_factory=asyncio.Event)


class Bodies:
    """The bodies of all requests in progress; as an ASGI app, it wraps another one."""

    def __init__(self, app: ASGIApp | None = None, *, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._present: list[Body] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._app is not None
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        with self.opened(scope) as body:
            try:
                self.check_declared(scope)
                await self._app(scope, self.limited(receive, body), noticed)
            except RefusedError as refusal:
                if not begun:
                    answer = {"error": refusal.error, "expected": refusal.expected}
                    await JSONResponse(answer, refusal.status)(scope, receive, send)

    @contextmanager
    def opened(self, scope: Scope) -> Generator[Body]:
        """Count a request's body while the block lasts."""
        body = Body((scope.get("client") or ("",))[0])
        self._present.append(body)
        try:
            yield body
        finally:
            self._present.remove(body)

    @property
    def bytes(self) -> int:
        """Bytes of all bodies whose requests are in progress and have not given way."""
        return sum(b.received for b in self._present if not b.given_way.is_set())

    def whole(self, client: str | None = None) -> int:
        """Count the requests whose bodies are whole, of one client or of all."""
        return sum(b.is_whole and client in (None, b.client) for b in self._present)

    def check_declared(self, scope: Scope) -> None:
        """Refuse a body that is declared too large (`RefusedError`)."""
        declared = header(scope, b"content-length")
        if declared and not declared.isdigit():
            raise RefusedError(
                400, "body", "a content length that is no number", "bytes of the body"
            )
        if declared:
            # By its digits first: Python refuses to read a number of thousands of them.
            self._check_size(int(declared) if len(declared) < 20 else 10**20)

    def limited(
        self, receive: Receive, body: Body, when_whole: Callable[[Body], None] | None = None
    ) -> Receive:
        """Wrap `receive` so that it stops a body that is too large, too slow or has to give way.

        Args:
            when_whole: called once, when the last byte has come.
        """
        deadline = time.monotonic() + self._limits.upload_s

        async def limited() -> Message:
            if body.is_whole:  # further calls wait for the client to disconnect, without a limit
                return await receive()
            message = await self._next(receive, body, deadline)
            body.received += len(message.get("body", b""))
            self._check_size(body.received)
            if not message.get("more_body", False):
                body.is_whole = True
            self._make_room(body)
            if body.is_whole and when_whole:
                when_whole(body)
            return message

        return limited

    async def _next(self, receive: Receive, body: Body, deadline: float) -> Message:
        coming = asyncio.ensure_future(receive())
        ending = asyncio.ensure_future(body.given_way.wait())
        try:
            await asyncio.wait(
                (coming, ending),
                timeout=max(0, deadline - time.monotonic()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if body.given_way.is_set():
                raise _too_much()
            if coming.done():
                return coming.result()
        finally:
            for waiting in (coming, ending):
                if not waiting.done():
                    waiting.cancel()
                    with suppress(asyncio.CancelledError):
                        await waiting
        limit = f"within {self._limits.upload_s:g} s"
        raise RefusedError(408, "upload", "a body that did not come", limit)

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._limits.body_mb * 2**20:
            found = f"a body of {size_bytes / 2**20:.1f} MB or more"
            raise RefusedError(413, "size", found, f"{self._limits.body_mb:g} MB or less")

    def _make_room(self, newest: Body) -> None:
        """End unfinished bodies until the present ones are within the limits."""
        while self._are_too_many():
            chosen = self._greediest()
            if chosen is None or chosen is newest:
                raise _too_much()
            chosen.given_way.set()

    def _are_too_many(self) -> bool:
        unfinished = sum(not (b.is_whole or b.given_way.is_set()) for b in self._present)
        return unfinished > self._limits.uploads or self.bytes > self._limits.bodies_mb * 2**20

    def _greediest(self) -> Body | None:
        """Return the oldest unfinished body of the client with the most bytes, then bodies."""
        unfinished = [b for b in self._present if not b.is_whole and not b.given_way.is_set()]
        held: Counter[str] = Counter()
        for body in unfinished:
            held[body.client] += body.received + 1
        return max(unfinished, key=lambda body: held[body.client], default=None)


def _too_much() -> RefusedError:
    found = "more unfinished or larger bodies than there is room for"
    return RefusedError(429, "busy", found, "fewer, or smaller ones, at a time")


def header(scope: Scope, name: bytes) -> bytes:
    """Return the first header of this name; empty if there is none."""
    return next((value for key, value in scope["headers"] if key == name), b"")

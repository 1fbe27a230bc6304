"""front: lets only the user who started a UI reach it, and only through pages of that UI.

Reads     requests on a port of the loopback interface.
Promises  the server behind it listens on a Unix socket that only this user can open. A browser is
          let in by a link that works once and leaves a cookie; requests with another Host, or
          from a page of another origin, are refused.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    DummyCookieJar,
    UnixConnector,
    WSMsgType,
    web,
)

from workflows.ports import HOST

_ENTER = "enter"
# They belong to one connection, or are made anew for the next one.
_OF_ONE_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "cookie", "host",
}  # fmt: skip
_ADDED = {"x-frame-options": "SAMEORIGIN", "referrer-policy": "same-origin"}
_LARGEST_MESSAGE = 64 * 2**20  # of a WebSocket [bytes]
_READY_S = 30


class Front:
    """The guarded port of one server."""

    def __init__(
        self, name: str, socket: Path, port: int, tell: Callable[[str], None], landing: str = ""
    ) -> None:
        """Guard a server.

        Args:
            tell: shows a link; a new one after each that was used.
            landing: where the link leads, below `/`.
        """
        self.name = name
        self.port = port
        self._socket = socket
        self._tell = tell
        self._landing = landing
        self._session = secrets.token_urlsafe(32)
        self._code = secrets.token_urlsafe(32)
        self._cookie = f"vitlens-{name}-{port}"

    @property
    def link(self) -> str:
        return f"http://{HOST}:{self.port}/?{_ENTER}={self._code}"

    def app(self) -> web.Application:
        app = web.Application()
        app.cleanup_ctx.append(self._connected)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _connected(self, _: web.Application) -> AsyncGenerator[None]:
        self._client = ClientSession(
            connector=UnixConnector(str(self._socket), limit=0),
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
        )
        yield
        await self._client.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._check_site(request)
        code = request.query.get(_ENTER)
        if code is not None and hmac.compare_digest(code.encode(), self._code.encode()):
            return self._let_in()
        given = request.cookies.get(self._cookie, "")
        if not hmac.compare_digest(given.encode(), self._session.encode()):
            raise web.HTTPUnauthorized(
                text="Open the link that `vitlens ui` printed; it works once."
            )
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._talk(request)
        try:
            return await self._pass_on(request)
        except ClientError as error:
            raise web.HTTPBadGateway(text=f"{self.name} does not answer: {error}") from error

    def _check_site(self, request: web.Request) -> None:
        known = {f"{name}:{self.port}" for name in (HOST, "localhost")}
        if request.host not in known:
            raise web.HTTPForbidden(text=f"expected the host {HOST}:{self.port}")
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{request.host}":
            raise web.HTTPForbidden(text="expected a page of this address")

    def _let_in(self) -> web.Response:
        self._code = secrets.token_urlsafe(32)
        self._tell(f"{self.name} was opened; for another browser: {self.link}")
        answer = web.HTTPSeeOther(f"/{self._landing}", headers=_ADDED)
        answer.set_cookie(self._cookie, self._session, httponly=True, samesite="Strict")
        raise answer

    def _headers(self, request: web.Request) -> dict[str, str]:
        """Return a request's headers for the server; our cookie is none of its business."""
        kept = {k: v for k, v in request.headers.items() if k.lower() not in _OF_ONE_HOP}
        others = [f"{k}={v}" for k, v in request.cookies.items() if k != self._cookie]
        return {**kept, "host": request.host, **({"cookie": "; ".join(others)} if others else {})}

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        async with self._client.request(
            request.method,
            request.url,
            headers=self._headers(request),
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in _OF_ONE_HOP:
                    response.headers.add(name, value)
            response.headers.update(_ADDED)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    async def _talk(self, request: web.Request) -> web.WebSocketResponse:
        """Pass the messages of a WebSocket on, in both directions."""
        offered = request.headers.get("sec-websocket-protocol", "")
        protocols = [name.strip() for name in offered.split(",") if name.strip()]
        ours = web.WebSocketResponse(protocols=protocols, max_msg_size=_LARGEST_MESSAGE)
        await ours.prepare(request)
        url = request.url.with_scheme("ws")
        async with self._client.ws_connect(
            url, protocols=protocols, max_msg_size=_LARGEST_MESSAGE
        ) as theirs:
            both = [asyncio.create_task(_copy(*pair)) for pair in ((ours, theirs), (theirs, ours))]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()
        await ours.close()
        return ours


Line = web.WebSocketResponse | ClientWebSocketResponse


async def _copy(source: Line, target: Line) -> None:
    async for message in source:
        if message.type == WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await target.send_bytes(message.data)


@contextmanager
def serving(fronts: Sequence[Front]) -> Generator[None]:
    """Serve the fronts in a thread while the block lasts.

    Raises:
        OSError: a port is taken.
    """
    loop = asyncio.new_event_loop()
    runners: list[web.AppRunner] = []

    async def start() -> None:
        for front in fronts:
            runners.append(web.AppRunner(front.app(), access_log=None))
            await runners[-1].setup()
            await web.TCPSite(runners[-1], HOST, front.port).start()

    async def stop() -> None:
        for runner in runners:
            await runner.cleanup()

    thread = threading.Thread(target=loop.run_forever, name="fronts", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(start(), loop).result(_READY_S)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(_READY_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

"""A web server on loopback that misbehaves on purpose, and a policy that loses no time over it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipelines.objects.transfer import FetchPolicy

QUICK = FetchPolicy(
    attempts=3,
    initial_wait_s=0.001,
    max_wait_s=0.01,
    max_retry_after_s=5.0,
    connect_timeout_s=1.0,
    stall_timeout_s=0.2,
    attempt_timeout_s=5.0,
)


class Server(ThreadingHTTPServer):
    """Serves `root`; `faults` hold, per path suffix, what the next requests meet instead."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.faults: dict[str, list[Callable[[Handler], None]]] = {}
        self.requests: list[str] = []
        self.refuses_all: int | None = None  # the status that every request meets
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    @property
    def site(self) -> Server:
        assert isinstance(self.server, Server)
        return self.server

    @property
    def file(self) -> Path:
        """What is asked for."""
        return self.site.root / self.path.lstrip("/")

    def do_GET(self) -> None:
        self.site.requests.append(self.path)
        if self.site.refuses_all:
            return self.answer(self.site.refuses_all)
        queued = next((f for s, f in self.site.faults.items() if self.path.endswith(s)), [])
        if queued:
            return queued.pop(0)(self)
        if not self.file.is_file():
            return self.answer(404)
        body = self.file.read_bytes()
        return self.answer(200, body, len(body))

    def do_HEAD(self) -> None:
        if self.site.refuses_all:
            return self.answer(self.site.refuses_all)
        if not self.file.is_file():
            return self.answer(404)
        body = self.file.read_bytes()
        return self.answer(200, length=len(body), etag=hashlib.sha256(body).hexdigest())

    def answer(
        self,
        status: int,
        body: bytes = b"",
        length: int = 0,
        retry_after: str | None = None,
        etag: str | None = None,
    ) -> None:
        self.send_response(status)
        if etag is not None:
            self.send_header("ETag", etag)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


def fails(status: int, retry_after: str | None = None) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(status, retry_after=retry_after)


def truncated(handler: Handler) -> None:
    body = handler.file.read_bytes()
    handler.answer(200, body[: len(body) // 2], len(body))


def other_size(handler: Handler) -> None:
    handler.answer(200, b"<html>busy</html>", 17)


def stalled(handler: Handler) -> None:
    body = handler.file.read_bytes()
    handler.answer(200, body[:100], len(body))
    handler.site.released.wait(10)


def goes_down(status: int) -> Callable[[Handler], None]:
    """From now on every request meets `status`."""

    def refuse(handler: Handler) -> None:
        handler.site.refuses_all = status
        handler.answer(status)

    return refuse


def dropped(handler: Handler) -> None:
    handler.connection.close()


@contextmanager
def serving(root: Path) -> Generator[Server]:
    """A server of the files below `root` while the block lasts."""
    server = Server(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()

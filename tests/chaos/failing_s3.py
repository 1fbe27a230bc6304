"""An S3 server on this machine (moto) that refuses some of its requests, as a busy store does."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>reduce your request rate</Message></Error>"


@dataclass
class Busy:
    """A WSGI application that answers 503 to every n-th request instead of passing it on."""

    inner: Any
    every: int
    count: Any = field(default_factory=itertools.count)
    refused: int = 0
    down: bool = False

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if self.down or next(self.count) % self.every == self.every - 1:
            self.refused += 1
            length = ("Content-Length", str(len(SLOW_DOWN)))
            start("503 Slow Down", [("Content-Type", "application/xml"), length])
            return [SLOW_DOWN]
        return self.inner(environ, start)


@contextmanager
def serving(every: int) -> Generator[tuple[str, Busy]]:
    """The server's address and its application, until the block is left."""
    busy = Busy(DomainDispatcherApplication(create_backend_app), every)
    server = make_server("127.0.0.1", 0, busy, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", busy
    finally:
        server.shutdown()
        thread.join()

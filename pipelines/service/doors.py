"""doors: closes what Ray Serve leaves open around the service, in the processes of Serve.

Promises  the process that receives HTTP reads a request's head within `HEAD_S` and of 16 KiB at
          most, and holds a bounded number of connections and bytes of bodies; a replica listens
          on no port of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ray.serve._private import replica
from starlette.middleware import Middleware
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines.service.bodies import Bodies
from pipelines.service.config import Limits

HEAD_S = 10.0  # for the head of a connection's first request
_OPENER = "add_port_to_grpc_server"
_CONNECTIONS = 512  # of one process; further ones get 503


class _Bounded(H11Protocol):
    """HTTP/1.1 by h11, which refuses a head of more than 16 KiB; httptools has no such limit."""

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        config.limit_concurrency = _CONNECTIONS
        super().__init__(config, *arguments, **options)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._patience = asyncio.get_running_loop().call_later(HEAD_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None:
            self.transport.close()


def limit_proxy() -> list[Middleware]:
    """Bound what Serve's proxy reads; Serve calls it in that process, before it listens."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{_Bounded.__name__}"
    return [Middleware(Bodies, limits=Limits())]


def close_replica() -> None:
    """Keep this replica from listening for calls of other deployments.

    Serve would accept pickles there from anybody, on every interface; there is no other
    deployment, and its proxy calls a replica as an actor.
    """
    if not callable(getattr(replica, _OPENER, None)):
        raise RuntimeError("this version of Ray Serve opens its port in another way")
    setattr(replica, _OPENER, _no_port)


def _no_port(server: object, address: str) -> int:
    return 0

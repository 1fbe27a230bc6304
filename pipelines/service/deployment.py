"""deployment: runs the service with Ray Serve; the only module that knows it.

Writes    nothing but a temporary folder of counters, which is deleted with the service.
Promises  a replica answers once its model is open; no replica is left when `running` ends.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from ray import serve

from pipelines.execution.cluster import connect
from pipelines.execution.runtime import Resources
from pipelines.service import doors
from pipelines.service.app import create_app
from pipelines.service.config import ServiceConfig
from pipelines.service.engine import EmbeddingOrError, Engine, Work
from pipelines.service.metrics import FOLDER
from pipelines.store.home import Home
from vitlens_core.errors import VitlensError
from vitlens_core.scratch import Scratch

_NAME = "vitlens"
_REPLICA_CPUS = 0.5  # reserved in Ray: Serve's own actors must also fit on a small machine
_STOP_S = 10
_LAST_WORDS_S = 0.5  # Ray's messages come a moment later, from another thread
_PASSED_ON = ("MLFLOW_TRACKING_URI", "VITLENS_STORE")


@serve.ingress()
class Replica:
    """One engine behind HTTP; Ray gathers the inputs of several requests into batches."""

    def __init__(self, config: ServiceConfig, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        doors.close_replica()
        logging.getLogger("vitlens.service").setLevel(logging.INFO)
        together: Any = self._together  # Ray's types do not know its own setters
        together.set_max_batch_size(config.batch_size)
        together.set_batch_wait_timeout_s(config.batch_wait_s)
        self._engine = Engine(config, self._batched)

    async def _batched(self, work: Work) -> EmbeddingOrError:
        (outcome,) = await self._together(work)
        return outcome

    @serve.batch
    async def _together(self, works: list[Work]) -> list[tuple[EmbeddingOrError]]:
        # In tuples: serve.batch would raise an exception that is returned for an item.
        return [(outcome,) for outcome in await self._engine.embed_all(works)]

    def __serve_build_asgi_app__(self):
        return create_app(self._engine)


def join(replicas: int) -> None:
    """Connect to Ray, or start a local one with room for `replicas`."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    connect(Resources(cpus=max(os.cpu_count() or 1, replicas)))


@contextmanager
def running(config: ServiceConfig, host: str, port: int, replicas: int) -> Generator[None]:
    """Run the service at http://host:port while the block lasts.

    Raises:
        VitlensError: a replica cannot be started; the message is the replica's.
    """
    join(replicas)
    with Scratch("metrics") as folder:
        try:
            _start(config, host, port, replicas, Path(folder))
            yield
        finally:
            if "RAY_ADDRESS" in os.environ:
                serve.delete(_NAME)  # the cluster may run applications of other people
            else:
                _shut_down()


class _WithoutRetries(io.TextIOBase):
    """A stream that leaves out what Ray says of the controller, which Serve kills in any case."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._ends_line = False  # `print` writes the end of a line by itself

    def write(self, text: str) -> int:
        # Its end is a failure for Ray, with "infinite retries remaining"; nothing is retried.
        unsaid = "ServeController.graceful_shutdown failed" in text
        if not unsaid and not (self._ends_line and text == "\n"):
            self._stream.write(text)
        self._ends_line = unsaid and not text.endswith("\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


def _shut_down() -> None:
    with redirect_stdout(_WithoutRetries(sys.stdout)):
        serve.shutdown()
        time.sleep(_LAST_WORDS_S)


def _start(config: ServiceConfig, host: str, port: int, replicas: int, counters: Path) -> None:
    # Not in `runtime_env`, which Ray logs: a URL may hold a password.
    known = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment = {FOLDER: str(counters), "VITLENS_HOME": str(Home.from_environment().root)}
    deployment: Any = serve.deployment(
        Replica,
        name=_NAME,
        num_replicas=replicas,
        # More than the guard admits, so that the guard refuses requests, with a reason.
        max_ongoing_requests=2 * (config.limits.waiting + config.limits.uploads),
        ray_actor_options={
            "num_cpus": _REPLICA_CPUS,
            "runtime_env": {"env_vars": environment},
        },
        graceful_shutdown_timeout_s=_STOP_S,
    )
    serve.start(http_options={"host": host, "port": port})
    try:
        serve.run(deployment.bind(config, known), name=_NAME, route_prefix="/", blocking=False)
    except RuntimeError as error:
        raise VitlensError(f"the service did not start: {error}") from error


def state() -> str:
    """Return Ray's status of the service: RUNNING, or what is wrong."""
    application = serve.status().applications.get(_NAME)
    if application is None:
        return "gone"
    return " ".join(filter(None, (application.status.value, application.message)))

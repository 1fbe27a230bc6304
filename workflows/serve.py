"""serve: registered lenses behind HTTP, until the user stops them.

Everything that can be wrong with what was asked is found before Ray starts: sources, index, port,
token.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console
from rich.markup import escape

from pipelines.service.config import ServiceConfig, token_from
from vitlens_core.errors import ConfigError, VitlensError
from workflows.home import Home
from workflows.servers import require_free

_POLL_S = 2.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    console: Console,
    home: Home,
    sources: Sequence[str],
    host: str,
    port: int,
    index: str,
    replicas: int,
) -> None:
    """Serve `sources` until Ctrl-C or SIGTERM.

    Raises:
        ConfigError: a source, an index, a token or a port that cannot be used.
        VitlensError: the service does not start, or ended by itself.
    """
    config = settings(home, sources, index, replicas)
    require_free("--port", port, host)
    _say_what_is_missing(console, config, host)
    # Else Ray's processes would outlive a `kill` or a closed terminal.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    from pipelines.service import deployment  # late: Ray takes seconds to import

    with suppress(KeyboardInterrupt), deployment.running(config, host, port, replicas):
        console.print(f"explorer   http://{host}:{port}/\ninterface  http://{host}:{port}/docs")
        console.print("Ctrl-C stops it")
        _watch(deployment.state)
    console.print("stopped")


def settings(home: Home, sources: Sequence[str], index: str, replicas: int) -> ServiceConfig:
    """What the replicas are told, once it is known to be possible.

    Raises:
        ConfigError: see `serve`.
    """
    # Late: torch takes seconds to import.
    from pipelines.service.versions import AUTO, NONE, find_index, resolve
    from vitlens_core.api.sources import locate

    config = ServiceConfig(
        sources=tuple(sources),
        index=index,
        store=str(home.store.root),
        token=token_from(),
        threads=max(1, (os.cpu_count() or 1) // replicas),
    )
    versions = resolve(config.sources)
    for source in config.sources:
        locate(source)
    found = find_index(config, versions)
    if index not in (AUTO, NONE) and isinstance(found, str):
        raise ConfigError(f"--index: {found}")
    return config


def _say_what_is_missing(console: Console, config: ServiceConfig, host: str) -> None:
    from pipelines.service.versions import find_index, resolve

    found = find_index(config, resolve(config.sources))
    if isinstance(found, str):
        console.print(f"[yellow]search     off: {escape(found)}[/]", soft_wrap=True)
    if config.token is None and host not in _LOOPBACK:
        console.print(
            f"[yellow]{host} is reached by others, and no token is set: VITLENS_TOKEN or "
            "VITLENS_TOKEN_FILE[/]",
            soft_wrap=True,
        )


def _watch(state: object) -> None:
    """Until interrupted.

    Raises:
        VitlensError: the service has gone.
    """
    assert callable(state)
    while True:
        time.sleep(_POLL_S)
        found = state()
        if found.startswith(("gone", "DEPLOY_FAILED")):
            raise VitlensError(f"the service ended: {found}")

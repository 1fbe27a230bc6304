"""Serve models (models:/NAME@ALIAS, lens files) and the explorer until Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import click
from rich.console import Console
from rich.markup import escape

from pipelines.service.config import TOKEN, TOKEN_FILE, ServiceConfig, token_from
from pipelines.service.versions import AUTO, NONE, find_index, resolve
from pipelines.store.home import Home
from vitlens_core.api.sources import locate
from vitlens_core.errors import ConfigError, VitlensError
from vitlens_core.sandbox import protections
from workflows.ports import HOST, require_free

_POLL_S = 2.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command("serve")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--host", default=HOST, show_default=True, help="Interface to listen on.")
@click.option("--index", default="auto", show_default=True, metavar="auto|FOLDER|none")
@click.option("--replicas", default=1, show_default=True, type=click.IntRange(1))
def command(sources: tuple[str, ...], port: int, host: str, index: str, replicas: int) -> None:
    """Serve models (models:/NAME@ALIAS, lens files) and the explorer until Ctrl-C."""
    home = Home.from_environment()
    serve(Console(stderr=True), home, sources, host, port, index, replicas)


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
    config, search = settings(home, sources, index, replicas)
    require_free("--port", port, host)
    if search:
        console.print(f"[yellow]search     off: {escape(search)}[/]", soft_wrap=True)
    if config.token is None and host not in _LOOPBACK:
        warning = f"others can reach {host}, and no token is set: set {TOKEN} or {TOKEN_FILE}"
        console.print(f"[yellow]{warning}[/]", soft_wrap=True)
    _say_protections(console)
    # Late: Ray takes seconds to import, and the arguments are checked without it.
    from pipelines.service import deployment

    deployment.join(replicas)
    _stop_on_signals()  # after the join: Ray replaces any handlers set before
    with suppress(KeyboardInterrupt), deployment.running(config, host, port, replicas):
        console.print(f"explorer   http://{host}:{port}/\ninterface  http://{host}:{port}/docs")
        console.print("Ctrl-C stops it")
        _watch(deployment.state)
    console.print("stopped")


def _say_protections(console: Console) -> None:
    """Print what keeps an uploaded file from doing harm on this machine."""
    stated = {name: protections()[name] for name in ("files", "calls")}
    colour = "yellow" if any(s.startswith("missing") for s in stated.values()) else "default"
    line = ", ".join(f"{name}: {state}" for name, state in stated.items())
    console.print(f"[{colour}]sandbox    {escape(line)}[/]", soft_wrap=True)


def settings(
    home: Home, sources: Sequence[str], index: str, replicas: int
) -> tuple[ServiceConfig, str]:
    """Check the arguments and make the replicas' configuration of them.

    Returns:
        The configuration, and why there is no search (empty if there is).

    Raises:
        ConfigError: see `serve`.
    """
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
    search_index = find_index(config, versions)
    if index not in (AUTO, NONE) and isinstance(search_index, str):
        raise ConfigError(f"--index: {search_index}")
    return config, search_index if isinstance(search_index, str) else ""


def _stop_on_signals() -> None:
    """Turn signals into KeyboardInterrupt.

    Ray's processes would otherwise outlive a `kill` or a closed terminal.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def _watch(state: Callable[[], str]) -> None:
    """Wait until interrupted.

    Raises:
        VitlensError: the service has ended.
    """
    while True:
        time.sleep(_POLL_S)
        status = state()
        if status.startswith(("gone", "DEPLOY_FAILED")):
            raise VitlensError(f"the service ended: {status}")

"""Serve models (models:/NAME@ALIAS, lens files) and the explorer until Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr
from rich.console import Console

from pipelines.registry.registry import Registry
from pipelines.service import companions
from pipelines.service.config import (
    TOKEN,
    TOKEN_FILE,
    WINDOWS,
    CompanionSettings,
    ServiceConfig,
    token_file,
    token_from,
    token_of,
)
from pipelines.service.versions import AUTO, NONE, find_index, resolve
from pipelines.store.home import Home
from vitlens_core.api import load
from vitlens_core.errors import ConfigError, VitlensError
from vitlens_core.plugins.imagine.statistics import FILE
from vitlens_core.sandbox import protections
from vitlens_core.sources import locate
from workflows.console import remark
from workflows.modalities import modality_names
from workflows.ports import HOST, require_free
from workflows.text import shown

_POLL_S = 2.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command("serve")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--host", default=HOST, show_default=True, help="Interface to listen on.")
@click.option("--index", default="auto", show_default=True, metavar="auto|FOLDER|none")
@click.option("--replicas", default=1, show_default=True, type=click.IntRange(1))
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name that clients use.")
@click.option("--ask", metavar="MODEL", help="Question model: a folder, or a name on the hub.")
@click.option("--connector", metavar="FILE", help="With it, --ask is any causal language model.")
@click.option("--detect", metavar="MODEL", help=f"OWL-ViT or OWLv2: the same, or {WINDOWS}.")
@click.option("--imagine", metavar="MODEL", help="A pipeline of diffusers: the same.")
@click.option("--encoder", metavar="MODEL", help="Image encoder the pipeline was trained with.")
@click.option("--adapter", metavar="FILE", help="Safetensors of an IP-Adapter.")
@click.option("--statistics", metavar="FILE", help=f"Of `imagine`; default: {FILE}.")
@click.option("--no-token", is_flag=True, help="Answer whoever reaches the port.")
def command(**arguments: Any) -> None:
    """Serve models (models:/NAME@ALIAS, lens files) and the explorer until Ctrl-C."""
    serve(Console(stderr=True), Home.from_environment(), Arguments(**arguments))


@dataclass(frozen=True)
class Arguments:
    """What the command line says."""

    sources: tuple[str, ...]
    port: int
    host: str = HOST
    index: str = AUTO
    replicas: int = 1
    allow_host: tuple[str, ...] = ()
    no_token: bool = False
    ask: str | None = None
    connector: str | None = None
    detect: str | None = None
    imagine: str | None = None
    encoder: str | None = None
    adapter: str | None = None
    statistics: str | None = None


def serve(console: Console, home: Home, arguments: Arguments) -> None:
    """Serve `sources` until Ctrl-C or SIGTERM.

    Raises:
        ConfigError: a source, an index, a token, a port or a model beside it that cannot be used.
        CheckpointError: a model beside it does not fit.
        VitlensError: the service does not start, or ended by itself.
    """
    is_new = not token_file(home.root).exists()
    config, search = settings(home, arguments)
    host, port, replicas = arguments.host, arguments.port, arguments.replicas
    require_free("--port", port, host)
    if search:
        console.print(f"[yellow]search     off: {shown(search)}[/]", soft_wrap=True)
    _say_protections(console)
    # Late: Ray takes seconds to import, and the arguments are checked without it.
    from pipelines.service import deployment

    console.print("[dim]starting   the models are opened; this takes half a minute or more[/]")
    deployment.join(replicas)
    _stop_on_signals()  # after the join: Ray replaces any handlers set before
    with suppress(KeyboardInterrupt), deployment.running(config, host, port, replicas):
        console.print(f"explorer   http://{host}:{port}/\ninterface  http://{host}:{port}/docs")
        console.print(
            _about_token(home, arguments, config, is_new=is_new), soft_wrap=True, highlight=False
        )
        console.print("Ctrl-C stops it")
        _watch(deployment.state)
    console.print("stopped")


def _say_protections(console: Console) -> None:
    """Print what keeps an uploaded file from doing harm on this machine."""
    stated = {name: protections()[name] for name in ("files", "calls")}
    colour = "yellow" if any(s.startswith("missing") for s in stated.values()) else "default"
    line = ", ".join(f"{name}: {state}" for name, state in stated.items())
    console.print(f"[{colour}]sandbox    {shown(line)}[/]", soft_wrap=True)


def settings(home: Home, arguments: Arguments) -> tuple[ServiceConfig, str]:
    """Check the arguments and make the replicas' configuration of them.

    Returns:
        The configuration, and why there is no search (empty if there is).

    Raises:
        ConfigError: see `serve`.
        CheckpointError: a model named beside the sources does not fit them.
    """
    config = ServiceConfig(
        sources=arguments.sources,
        index=arguments.index,
        store=str(home.store.root),
        companions=_companions(arguments),
        token=_token(home, arguments),
        hosts=("localhost", arguments.host, *arguments.allow_host),
        threads=max(1, (os.cpu_count() or 1) // arguments.replicas),
    )
    for found in Registry(home.root).reconcile(modality_names()):
        remark(found)
    versions = resolve(config.sources)
    for source in config.sources:
        locate(source)
    companions.check_kinds(config.companions)
    search_index = find_index(config, versions)
    if arguments.index not in (AUTO, NONE) and isinstance(search_index, str):
        raise ConfigError(f"--index: {search_index}")
    if config.companions.are_named:  # the lens is opened for it, and let go
        companions.check(config.companions, load(*config.sources))
        companions.check_connector(config.companions)
    return config, search_index if isinstance(search_index, str) else ""


def _companions(arguments: Arguments) -> CompanionSettings:
    """Return the models named beside the sources, with paths that hold in another folder."""
    given = {name: getattr(arguments, name) or "" for name in CompanionSettings.model_fields}
    if given["imagine"] and not given["statistics"]:
        given["statistics"] = FILE
    return CompanionSettings(**{name: _lasting(value) for name, value in given.items()})


def _lasting(source: str) -> str:
    """Return a model's hub name or keyword as it is, and a path of this machine in full."""
    source = source.removeprefix("hf:")
    is_path = source not in ("", WINDOWS) and Path(source).exists()
    return str(Path(source).resolve()) if is_path else source


def _token(home: Home, arguments: Arguments) -> SecretStr | None:
    """Return the token: of the environment, or the home's own; None if it is switched off.

    Raises:
        ConfigError: it is switched off where others can reach the service.
    """
    given = token_from()
    if not arguments.no_token:
        return given or token_of(home.root)[0]
    if given:
        raise ConfigError(f"--no-token and {TOKEN} or {TOKEN_FILE}: unset one")
    if arguments.host not in _LOOPBACK:
        raise ConfigError(
            f"--no-token and --host {arguments.host}: whoever reaches it could use the service; "
            "leave out --no-token, or listen on 127.0.0.1"
        )
    return None


def _about_token(home: Home, arguments: Arguments, config: ServiceConfig, *, is_new: bool) -> str:
    if arguments.no_token:
        return "[yellow]token      none: every user of this machine can use the service[/]"
    if token_from():
        return "token      that of the environment"
    known = f"{config.token.get_secret_value()}, from now on " if is_new and config.token else ""
    return f"token      {shown(known)}in {shown(str(token_file(home.root)))}"


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

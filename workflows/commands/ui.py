"""Serve the Dagster and MLflow UIs until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import click
from rich.console import Console

from pipelines.registry.models import connect
from pipelines.registry.own_store import FILES, tracking_uri
from pipelines.store.home import Home
from vitlens_core.errors import VitlensError
from workflows.environment import dagster_folder
from workflows.ports import HOST, require_free

_START_TIMEOUT_S = 180
_STOP_TIMEOUT_S = 20
_POLL_S = 0.5
# Dagster's default is one minute: too little to list a large data set, or to start a run's
# process on a busy machine.
_CODE_TIMEOUT_S = 600


@click.command("ui")
@click.option("--port", default=3000, show_default=True, help="Of Dagster's UI.")
@click.option("--mlflow-port", default=5000, show_default=True, help="Of MLflow's UI.")
def command(port: int, mlflow_port: int) -> None:
    """Serve the Dagster and MLflow UIs until Ctrl-C."""
    serve(Console(stderr=True), Home.from_environment(), port, mlflow_port)


def serve(console: Console, home: Home, port: int, mlflow_port: int) -> None:
    """Run both servers until Ctrl-C.

    Raises:
        ConfigError: a port is taken.
        VitlensError: a server ended unexpectedly or does not answer; the message names its log.
    """
    tracking = tracking_uri(home.root)
    remote = tracking.startswith(("http://", "https://"))
    require_free("--port", port)
    commands = {"dagster": (_dagster(port), port)}
    if not remote:
        require_free("--mlflow-port", mlflow_port)
        connect(home.root)  # the tables are made, and name the places of a home that was moved
        commands["mlflow"] = (_mlflow(tracking, home, mlflow_port), mlflow_port)
    # The servers would otherwise outlive a `kill` or a closed terminal.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        servers = {
            name: stack.enter_context(running(home, name, command))
            for name, (command, _) in commands.items()
        }
        for name, (_, chosen) in commands.items():
            _await_answer(home, name, servers[name], chosen)
            console.print(f"{name:<8} http://{HOST}:{chosen}")
        if remote:
            console.print(f"mlflow   {tracking}")
        console.print("Ctrl-C stops them")
        _watch(home, servers)
    console.print("stopped")


def _dagster(port: int) -> list[str]:
    module = ["-m", "workflows.definitions", "-h", HOST, "-p", str(port)]
    return [sys.executable, "-m", "dagster", "dev", *module]


def _mlflow(tracking: str, home: Home, port: int) -> list[str]:
    stores = [
        "--backend-store-uri",
        tracking,
        "--artifacts-destination",
        str(home.root / FILES),
    ]
    served = ["--host", HOST, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *served, *stores]


@contextmanager
def running(home: Home, name: str, command: Sequence[str]) -> Generator[subprocess.Popen]:
    """Run a server in a process group of its own; it is stopped with all its children."""
    environment = {
        **os.environ,
        "VITLENS_HOME": str(home.root),
        "DAGSTER_HOME": str(dagster_folder(home)),
        "DAGSTER_GRPC_TIMEOUT_SECONDS": str(_CODE_TIMEOUT_S),
    }
    with _log(home, name).open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_STOP_TIMEOUT_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _await_answer(home: Home, name: str, process: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        require_alive(home, name, process)
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(_POLL_S)
    raise VitlensError(f"{name} does not answer after {_START_TIMEOUT_S} s: see {_log(home, name)}")


def _watch(home: Home, running: dict[str, subprocess.Popen]) -> None:
    while True:
        for name, process in running.items():
            require_alive(home, name, process)
        time.sleep(_POLL_S)


def require_alive(home: Home, name: str, process: subprocess.Popen) -> None:
    if process.poll() is not None:
        raise VitlensError(f"{name} ended with code {process.returncode}: see {_log(home, name)}")


def _log(home: Home, name: str) -> Path:
    return home.logs() / f"ui-{name}.log"

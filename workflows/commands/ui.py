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
from functools import partial
from pathlib import Path

import click
import yaml
from rich.console import Console

from pipelines.registry.own_store import FILES, tracking_uri
from pipelines.registry.server import MLFLOW_PORT, connect, experiment, fragment, is_served
from pipelines.store.home import Home
from pipelines.store.text import redacted
from vitlens_core.errors import VitlensError
from vitlens_core.scratch import Scratch
from workflows.environment import CODE_LOCATION, dagster_folder
from workflows.front import Front, serving
from workflows.ports import require_free
from workflows.reaper import reaped

_CODE, _DAEMON = "code", "daemon"  # the code server, which both others ask; the schedules
_START_TIMEOUT_S = 180
_STOP_TIMEOUT_S = 20
_POLL_S = 0.5
# Dagster's default is one minute: too little to list a large data set, or to start a run's
# process on a busy machine.
_CODE_TIMEOUT_S = 600


@click.command("ui")
@click.option("--port", default=3000, show_default=True, help="Of Dagster's UI.")
@click.option("--mlflow-port", default=MLFLOW_PORT, show_default=True, help="Of MLflow's UI.")
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
    ports = {"dagster": port} | ({} if is_served(home.root) else {"mlflow": mlflow_port})
    for option, (_, chosen) in zip(("--port", "--mlflow-port"), ports.items(), strict=False):
        require_free(option, chosen)
    landing = {}
    if "mlflow" in ports:
        # The tables are made, and name the places of a home that was moved.
        runs = f"/experiments/{experiment(connect(home.root), home.root)}/runs"
        landing["mlflow"] = fragment(runs)  # its own first page is about agents
    # The servers would otherwise outlive a `kill` or a closed terminal.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        # A folder that only this user can enter: whoever opens a socket in it can start runs.
        folder = stack.enter_context(Scratch("ui"))
        end_if_killed = stack.enter_context(reaped())
        servers = {}
        for name, command in _commands(home, tracking, folder, mlflow="mlflow" in ports).items():
            servers[name] = stack.enter_context(running(home, name, command, folder))
            end_if_killed(servers[name].pid)
            if name != _DAEMON:
                _await_answer(home, name, servers[name], folder / name)
        tell = partial(console.print, soft_wrap=True, highlight=False)
        fronts = [
            Front(name, folder / name, chosen, tell, landing.get(name, ""))
            for name, chosen in ports.items()
        ]
        stack.enter_context(serving(fronts))
        for front in fronts:
            tell(f"{front.name:<8} {front.link}")
        if "mlflow" not in ports:
            tell(f"mlflow   {redacted(tracking)}")
        console.print("Each link opens one browser. Ctrl-C stops the servers.")
        _watch(home, servers)
    console.print("stopped")


def _commands(home: Home, tracking: str, folder: Path, *, mlflow: bool) -> dict[str, list[str]]:
    """Return the servers' commands in the order in which they start, by the name of the socket."""
    python, code = [sys.executable, "-m"], ["-w", str(write_workspace(folder))]
    module = ["-m", "workflows.definitions", "--use-python-environment-entry-point"]
    commands = {
        _CODE: [*python, "dagster", "code-server", "start", "-s", str(folder / _CODE), *module],
        "dagster": [*python, "workflows.on_socket", str(folder / "dagster"), *code],
        _DAEMON: [*python, "dagster._daemon", "run", *code],
    }
    stores = ["--backend-store-uri", tracking]
    stores += ["--artifacts-destination", str(home.root / FILES)]
    listen = ["--uvicorn-opts", f"--uds {folder / 'mlflow'}", "--workers", "1"]
    return commands | (
        {"mlflow": [*python, "mlflow", "server", *listen, *stores]} if mlflow else {}
    )


def write_workspace(folder: Path) -> Path:
    """Write where the code server is, and under which name.

    Without a name Dagster calls it by its socket, which is another one at each start: schedules
    and sensors that were switched on would be off again.
    """
    code = {"location_name": CODE_LOCATION, "host": "localhost", "socket": str(folder / _CODE)}
    path = folder / "workspace.yaml"
    path.write_text(yaml.safe_dump({"load_from": [{"grpc_server": code}]}))
    return path


@contextmanager
def running(
    home: Home, name: str, command: Sequence[str], folder: Path
) -> Generator[subprocess.Popen]:
    """Run a server in a process group of its own; it is stopped with all its children.

    Args:
        folder: for its temporary files, sockets among them.
    """
    environment = {
        **os.environ,
        "VITLENS_HOME": str(home.root),
        "TMPDIR": str(folder),
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
        with _undisturbed():
            _stop(process)


@contextmanager
def _undisturbed() -> Generator[None]:
    """Ignore further signals of an impatient user, which would leave a server behind."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _stop(process: subprocess.Popen) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_STOP_TIMEOUT_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _await_answer(home: Home, name: str, process: subprocess.Popen, path: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        require_alive(home, name, process)
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
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

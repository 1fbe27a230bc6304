"""Processes of the stack: started in groups of their own, remembered, and stopped exactly.

A process is known by its id and its start time, since the system reuses ids.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

HOST = "127.0.0.1"
STATE = "stack.json"
_START_S, _STOP_S, _POLL_S = 180.0, 20.0, 0.2


class StackError(Exception):
    """A part did not start, or is not there; the message names its log."""


def answers(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _require_free(name: str, port: int) -> None:
    """Refuse a port that another program has: what is meant for the part would go to that one."""
    if answers(port):
        raise StackError(
            f"{name} cannot listen on port {port} of {HOST}, another program does: stop that one "
            f"(`ss -ltnp 'sport = {port}'` names it), or choose other ports with --ports free"
        )


@dataclass(frozen=True)
class Command:
    """How a part is started, and how to tell that it answers.

    Attributes:
        ports: of loopback, where it will listen; nobody else may.
        user: who runs it, where root must not.
        stop: the signal that ends it in order.
    """

    arguments: Sequence[str | Path]
    environment: Mapping[str, str]
    is_ready: Callable[[], bool]
    ports: Sequence[int] = ()
    user: str | None = None
    stop: signal.Signals = signal.SIGTERM


@dataclass
class Processes:
    """The processes of a stack, by the name of their part; kept in its folder."""

    folder: Path

    def start(self, name: str, command: Command) -> None:
        """Start a part and wait until it answers (`StackError`)."""
        for port in command.ports:
            _require_free(name, port)
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        with (logs / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                command.arguments,
                env={**command.environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=command.user,
                group=command.user,
                extra_groups=[] if command.user else None,
            )
        began = psutil.Process(process.pid).create_time()
        self._remember(name, {"pid": process.pid, "began": began, "stop": command.stop})
        deadline = time.monotonic() + _START_S
        while not command.is_ready() or process.poll() is not None:
            if process.poll() is not None:
                raise StackError(f"{name} ended with {process.returncode}: see {logs / name}.log")
            if time.monotonic() > deadline:
                raise StackError(f"{name} does not answer: see {logs / name}.log")
            time.sleep(_POLL_S)

    def stop(self, name: str, number: signal.Signals | None = None) -> None:
        """End a part and all that it started; nothing happens if it is gone."""
        known = self.known().get(name)
        process = self.process(name)
        if known and process:
            family = [process, *process.children(recursive=True)]
            os.kill(process.pid, number or known["stop"])
            _, left = psutil.wait_procs(family, timeout=_STOP_S if number is None else 1)
            for each in left:
                each.kill()
            psutil.wait_procs(left, timeout=_STOP_S)
        self._remember(name, None)

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a part and all that it started (`StackError`)."""
        process = self.process(name)
        if process is None:
            raise StackError(f"{name} does not run")
        for each in (process, *process.children(recursive=True)):
            each.send_signal(number)

    def process(self, name: str) -> psutil.Process | None:
        """Return the process of a part, if it runs."""
        known = self.known().get(name)
        try:
            process = psutil.Process(known["pid"]) if known else None
        except psutil.NoSuchProcess:
            return None
        if known is None or process is None or process.create_time() != known["began"]:
            return None
        return process if process.status() != psutil.STATUS_ZOMBIE else None

    def known(self) -> dict[str, dict]:
        """Return what was started and not stopped, in the order of starting."""
        path = self.folder / STATE
        return json.loads(path.read_text()) if path.exists() else {}

    def _remember(self, name: str, entry: Mapping[str, object] | None) -> None:
        known = {key: value for key, value in self.known().items() if key != name}
        if entry:
            known[name] = dict(entry)
        scratch = self.folder / f".{STATE}.tmp"
        scratch.write_text(json.dumps(known, indent=1))
        scratch.replace(self.folder / STATE)

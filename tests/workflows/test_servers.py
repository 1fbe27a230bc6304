"""Starting the UIs."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.store.home import Home
from vitlens_core.errors import ConfigError, VitlensError
from workflows.commands import ui as servers
from workflows.ports import HOST


def test_a_taken_port_is_refused_by_its_option() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} of .* is taken.*--mlflow-port"):
            servers.require_free("--mlflow-port", port)


def test_a_server_that_ends_points_to_its_log(tmp_path: Path) -> None:
    home = Home(tmp_path)
    command = [sys.executable, "-c", "raise SystemExit('no module')"]
    with servers.running(home, "dagster", command, tmp_path) as process:
        process.wait()
        with pytest.raises(VitlensError, match=r"dagster ended with code 1: see .*ui-dagster\.log"):
            servers.require_alive(home, "dagster", process)
    assert "no module" in (tmp_path / "logs" / "ui-dagster.log").read_text()


def test_servers_stop_with_their_children(tmp_path: Path) -> None:
    child = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    home, command = Home(tmp_path), [sys.executable, "-c", child]
    with servers.running(home, "mlflow", command, tmp_path) as process:
        assert process.poll() is None

    assert process.poll() is not None
    assert _is_gone(process.pid)


STUBBORN = (
    "import signal, subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "subprocess.run(['sleep', '60'])"
)
OWNER = f"""
import subprocess, sys, time
from workflows.reaper import reaped
with reaped() as end_if_killed:
    server = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], start_new_session=True)
    end_if_killed(server.pid)
    print(server.pid, flush=True)
    time.sleep(60 if sys.argv[1] == "killed" else 0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "ended"])
def test_servers_of_a_killed_process_end_and_of_one_that_ended_are_its_own(how: str) -> None:
    """With their children, whatever they do about a signal."""
    command = [sys.executable, "-c", OWNER, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        group = int(owner.stdout.readline())
        if how == "killed":
            owner.kill()
        owner.wait(60)
    if how == "ended":
        servers.os.killpg(group, signal.SIGKILL)  # it was there still
    assert _is_gone(group)


def _is_gone(group: int) -> bool:
    """Whether a process group ends: orphans are there until the system's first process reaps."""
    for _ in range(200):
        try:
            servers.os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False

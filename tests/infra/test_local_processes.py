"""The stack on loopback starts only where nobody else listens, in a folder of its user's own."""

from __future__ import annotations

import os
import runpy
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import processes
from infra.local.__main__ import _ports as ports_of
from infra.local.processes import HOST, Command, Processes, StackError, answers
from infra.local.stack import ACCOUNTS, CONFIG, PORTS, Stack, free_ports
from tests.conftest import ROOT


def a_part(code: str, port: int) -> Command:
    return Command([sys.executable, "-c", code], {}, lambda: answers(port), [port])


@pytest.fixture
def taken() -> Iterator[int]:
    """A port where another program listens."""
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_that_another_program_has_is_not_taken_for_the_part(
    tmp_path: Path, taken: int
) -> None:
    started = tmp_path / "started"
    with pytest.raises(StackError, match=f"port {taken} of 127.0.0.1, another program does"):
        Processes(tmp_path).start("mlflow", a_part(f"open({str(started)!r}, 'w')", taken))
    assert not started.exists()


@pytest.mark.parametrize("code", [0, 3])
def test_a_part_that_ends_says_how(tmp_path: Path, code: int) -> None:
    [port] = {free_ports()["mlflow"]}
    with pytest.raises(StackError, match=f"mlflow ended with {code}: see .*mlflow.log"):
        Processes(tmp_path).start("mlflow", a_part(f"raise SystemExit({code})", port))


def test_a_part_that_does_not_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_START_S", 0.5)
    part = a_part("import time; time.sleep(60)", free_ports()["mlflow"])
    with pytest.raises(StackError, match="does not answer"):
        Processes(tmp_path).start("mlflow", part)
    Processes(tmp_path).stop("mlflow")
    assert not Processes(tmp_path).known()


def test_accounts_are_those_that_a_server_has() -> None:
    path = CONFIG / "accounts.py"
    assert runpy.run_path(str(path))["ACCOUNTS"] == ACCOUNTS


@pytest.mark.parametrize("is_there", [False, True])
def test_what_the_stack_keeps_is_closed_to_others(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "stack"
    if is_there:
        folder.mkdir(mode=0o700)
    Stack(folder)
    # Where root starts the stack, Postgres' user must pass.
    assert folder.stat().st_mode & 0o777 == (0o700 if os.getuid() else 0o711)
    inside = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_dir()}
    assert set(inside.values()) == {0o700}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder / "secrets").iterdir())


def test_a_folder_that_another_made_is_refused(tmp_path: Path) -> None:
    """Its secrets would be known to whoever made it."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (tmp_path / "link").symlink_to(mine)
    with pytest.raises(StackError, match="not this user's alone to write in"):
        Stack(tmp_path / "link")
    open_ = tmp_path / "open"
    open_.mkdir()
    open_.chmod(0o777)
    with pytest.raises(StackError, match="not this user's alone to write in"):
        Stack(open_)
    if os.getuid():
        return
    other = tmp_path / "other"
    other.mkdir()
    shutil.chown(other, "nobody")
    with pytest.raises(StackError, match="not this user's alone to write in"):
        Stack(other)
    assert not any(other.iterdir())


def test_ports_that_were_chosen_are_kept(tmp_path: Path) -> None:
    kept = ports_of(tmp_path, "free")
    assert kept != PORTS
    assert ports_of(tmp_path, None) == kept
    assert ports_of(tmp_path, "usual") == PORTS


def test_parts_that_run_keep_their_ports(tmp_path: Path) -> None:
    part = Command([sys.executable, "-c", "import time; time.sleep(60)"], {}, lambda: True)
    Processes(tmp_path).start("daemon", part)
    with pytest.raises(StackError, match="parts of the stack run"):
        ports_of(tmp_path, "free")
    Processes(tmp_path).stop("daemon")
    assert ports_of(tmp_path, "free") != PORTS


@pytest.mark.parametrize("action", ["down", "status"])
def test_only_up_makes_a_folder(tmp_path: Path, action: str) -> None:
    told = [sys.executable, "-m", "infra.local", action, "--folder", str(tmp_path / "none")]
    done = subprocess.run(told, cwd=ROOT, check=False, capture_output=True, text=True)
    assert f"nothing was started in {tmp_path / 'none'}" in done.stderr
    assert not any(tmp_path.iterdir())

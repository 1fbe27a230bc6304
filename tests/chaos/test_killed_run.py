"""A run killed at any step: the next one finishes, redoes nothing that was done."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

DEADLINE_S = 280


def start(home: Path) -> subprocess.Popen:
    environment = {**os.environ, "VITLENS_HOME": str(home)}
    vitlens = str(Path(sys.executable).with_name("vitlens"))
    command = [vitlens, "run", "point_cloud", "--profile", "tiny"]
    return subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_when(process: subprocess.Popen, seen: Callable[[], bool]) -> None:
    """Kill the run and everything it started, as a machine that goes down would."""
    until = time.monotonic() + DEADLINE_S
    while not seen():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, "the run never came this far"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def manifests(home: Path) -> dict[str, int]:
    """Finished artifacts by folder, with the time their manifest was written."""
    found = (home / "artifacts").glob("*/*/manifest.json")
    return {str(path.parent.relative_to(home)): path.stat().st_mtime_ns for path in found}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_twice_finishes_without_redoing_what_was_done(tmp_path):
    home = tmp_path / "home"
    stages = [
        lambda: any((home / "artifacts" / "renders").glob("*/*.record.json")),
        lambda: any((home / "artifacts" / "targets").glob("*/manifest.json")),
    ]
    done: dict[str, int] = {}
    for seen in stages:
        kill_when(start(home), seen)
        for folder, written in done.items():
            assert manifests(home)[folder] == written
        done = manifests(home)
    last = start(home)
    output, _ = last.communicate(timeout=DEADLINE_S)
    assert last.returncode == 0, output
    finished = manifests(home)
    assert all(finished[folder] == written for folder, written in done.items())
    assert {Path(folder).parts[1] for folder in finished} >= {"objects", "lens", "evaluation"}
    report = json.loads((home / "latest" / "report.json").read_text())
    assert "champion" in report["model"]["aliases"]
    assert not [p for p in (home / "artifacts").rglob("*") if p.name.endswith(".tmp")]

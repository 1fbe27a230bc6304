"""Dagster's own daemon runs a schedule of ours: once, and then finds nothing to do.

The daemon, the code server and the run are processes of their own, as `dagster dev` (and so
`vitlens ui`) has them; the workflow is that of thermal pictures, its foundation random weights.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from pipelines.registry import models
from pipelines.store.home import Home
from tests.conftest import ROOT
from workflows.commands.ui import running
from workflows.environment import dagster_folder
from workflows.modalities import FOLDER
from workflows.ports import HOST
from workflows.processes import PROCESS_TAG

DEADLINE_S = 600
SCHEDULE = "thermal_schedule"
pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1300)]


def smallest(foundation: str) -> dict[str, Any]:
    """Thermal's workflow with a profile of seconds, due every minute."""
    path = FOLDER / "thermal" / "defs.yaml"
    attributes = yaml.safe_load(path.read_text())["attributes"]
    tiny = attributes["profiles"]["tiny"]
    tiny["source"] |= {"count": 12}
    tiny["foundation"] = {"spec": foundation, "embed_dim": 8, "image_size_px": 32}
    tiny["foundation"]["fit"] = {"steps": 2, "batch_size": 8}
    tiny["shards"] = {"image_px": 32}
    tiny["signal"] = {"side_px": 32}
    tiny["lens"]["tokenizer"] = {"patch_px": 16, "width": 192}
    tiny["resources"] |= {"cpus": 2, "train_workers": 0, "threads_per_train_worker": 1}
    schedule = {"cron": "* * * * *", "profile": "tiny"}
    return {**attributes, "schedule": schedule, "sensor": None, "pieces": None}


@contextmanager
def served(home: Home, name: str, module: str, *arguments: str) -> Generator[subprocess.Popen]:
    """A server of Dagster's; at the end it is gone, and all that it started."""
    started: list[psutil.Process] = []
    try:
        command = [sys.executable, "-m", module, *arguments]
        with running(home, name, command, home.root) as process:
            try:
                yield process
            finally:
                started = psutil.Process(process.pid).children(recursive=True)
    finally:
        for child in psutil.wait_procs(started, timeout=10)[1]:
            child.kill()


@pytest.fixture
def home(tmp_path: Path, tiny_lit: str, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path / "home")
    workflow = tmp_path / "workflow.yaml"
    workflow.write_text(yaml.safe_dump(smallest(tiny_lit)))
    monkeypatch.setenv("VITLENS_TEST_WORKFLOW", str(workflow))
    monkeypatch.setenv("VITLENS_HOME", str(home.root))
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_folder(home)))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return home


@pytest.fixture
def workspace(home: Home, tmp_path: Path) -> Generator[Path]:
    """Served once: from a module, the daemon would load the definitions anew every minute."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    code = {"location_name": "vitlens", "host": HOST, "port": port}
    path = tmp_path / "workspace.yaml"
    path.write_text(yaml.safe_dump({"load_from": [{"grpc_server": code}]}))
    module = ["-m", "tests.workflows.every_minute", "-d", str(ROOT)]
    address = ["-h", HOST, "-p", str(port)]
    with served(home, "code", "dagster", "api", "grpc", *module, *address) as process:

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((HOST, port)) == 0

        awaited(home, process, answers)
        yield path


def awaited(home: Home, process: subprocess.Popen, look: Callable[[], Any]) -> Any:
    """What `look` finds once it finds something."""
    until = time.monotonic() + DEADLINE_S
    while not (found := look()):
        assert process.poll() is None, logs(home)
        assert time.monotonic() < until, logs(home)
        time.sleep(1)
    return found


def logs(home: Home) -> str:
    return "\n".join(path.read_text() for path in home.logs().iterdir())


def scheduled(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(tags={"dagster/schedule_name": SCHEDULE}))


def ticks(instance: dg.DagsterInstance, status: TickStatus) -> list[InstigatorTick]:
    [state] = [each for each in instance.all_instigator_state() if each.name == SCHEDULE]
    found = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return [tick for tick in found if tick.status is status]


def test_the_daemon_runs_a_schedule_once_and_then_has_nothing_to_do(
    home: Home, workspace: Path
) -> None:
    start = ["-m", "dagster", "schedule", "start", SCHEDULE, "-w", str(workspace)]
    subprocess.run([sys.executable, *start], check=True, capture_output=True)
    daemon = served(home, "daemon", "dagster._daemon", "run", "-w", str(workspace))
    with daemon as process, dg.DagsterInstance.get() as instance:

        def finished() -> dg.DagsterRun | None:
            return next((run for run in scheduled(instance) if run.is_finished), None)

        def idle() -> str | None:
            reasons = [str(tick.skip_reason) for tick in ticks(instance, TickStatus.SKIPPED)]
            return next((reason for reason in reasons if "nothing to do" in reason), None)

        run = awaited(home, process, finished)
        assert run.status is dg.DagsterRunStatus.SUCCESS, logs(home)
        reason = awaited(home, process, idle)
        assert not ticks(instance, TickStatus.FAILURE)
        assert [r.run_id for r in scheduled(instance)] == [run.run_id]

    assert run.job_name == "thermal"
    assert run.run_config["resources"]["settings"]["config"]["profile"] == "tiny"
    assert PROCESS_TAG in run.tags
    assert "vitlens-thermal version 1" in reason
    [version] = models.versions(home.root, "thermal")
    assert version.aliases == ("champion",)

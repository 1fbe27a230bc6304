"""What a team's Dagster is told to do (`infra/config/dagster.yaml`), asked of Dagster itself."""

from __future__ import annotations

import json
import logging
import socket
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
import yaml
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster._daemon.monitoring import concurrency
from dagster._utils.tags import TagConcurrencyLimitsCounter
from dagster_ray import RayRunLauncher

from infra.local.stack import CONFIG
from tests.workflows.stage import DEFINITIONS
from workflows import launcher
from workflows.launcher import PatientRayRunLauncher

SETTINGS = yaml.safe_load((CONFIG / "dagster.yaml").read_text())
MODALITIES = ("point_cloud", "thermal")


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The team's instance, its history in a folder."""
    monkeypatch.setenv("VITLENS_RAY_DASHBOARD", "http://127.0.0.1:1")
    kept = {name: value for name, value in SETTINGS.items() if name != "storage"}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(kept))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@pytest.fixture(scope="module")
def tags() -> dict[str, dict[str, str]]:
    """The tags that a run of each modality has, whoever starts it."""
    return {name: dict(DEFINITIONS.resolve_job_def(name).run_tags) for name in MODALITIES}


def a_run(instance: dg.DagsterInstance, tags: dict[str, str], **more: Any) -> dg.DagsterRun:
    run = dg.DagsterRun(job_name="a_job", run_id=str(uuid.uuid4()), tags=tags, **more)
    return instance.add_run(run)


def test_one_run_of_a_modality_goes_at_a_time(
    instance: dg.DagsterInstance, tags: dict[str, dict[str, str]]
) -> None:
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    limits = queue.tag_concurrency_limits
    going = a_run(instance, tags["thermal"])
    counter = TagConcurrencyLimitsCounter(limits, [going])
    assert counter.is_blocked(a_run(instance, tags["thermal"]))
    assert not counter.is_blocked(a_run(instance, tags["point_cloud"]))


def test_the_places_of_a_killed_run_are_freed(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.initialize_concurrency_limit_to_default("data")
    run = a_run(instance, {}, status=dg.DagsterRunStatus.STARTED)
    limit = SETTINGS["concurrency"]["pools"]["default_limit"]
    for number in range(limit):
        assert storage.claim_concurrency_slot("data", run.run_id, f"step{number}").is_claimed
    assert not storage.claim_concurrency_slot("data", run.run_id, "another").is_claimed

    instance.report_run_failed(run, "its process is gone")
    after_s = SETTINGS["run_monitoring"]["free_slots_after_run_end_seconds"]
    with pytest.MonkeyPatch.context() as clock:
        later = datetime.now(UTC) + timedelta(seconds=after_s + 1)
        clock.setattr(concurrency, "get_current_datetime", lambda: later)
        context = cast("Any", SimpleNamespace(instance=instance))
        list(concurrency.execute_concurrency_slots_iteration(context, logging.getLogger(__name__)))
    other = a_run(instance, {}, status=dg.DagsterRunStatus.STARTED)
    assert storage.claim_concurrency_slot("data", other.run_id, "step").is_claimed


def test_a_run_whose_process_is_gone_begins_again_and_one_whose_step_failed_does_not(
    instance: dg.DagsterInstance,
) -> None:
    for reason, expected in [(None, "true"), (RunFailureReason.STEP_FAILURE, "false")]:
        run = a_run(instance, {}, status=dg.DagsterRunStatus.STARTED)
        data = JobFailureData(error=None, failure_reason=reason) if reason else None
        instance.report_run_failed(run, "gone", data)
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.tags.get(WILL_RETRY_TAG) == expected, reason


class Head(BaseHTTPRequestHandler):
    """Ray's dashboard, as the client of jobs asks it."""

    status = 200

    def do_GET(self) -> None:
        version = {"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": ""}
        is_job = self.path.startswith("/api/jobs/")
        self.send_response(self.status if is_job else 200)
        self.end_headers()
        self.wfile.write(b"away" if is_job else json.dumps(version).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def head() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Head) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address whose port is held, and refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_a_run_waits_for_a_head_that_is_being_replaced(
    head: ThreadingHTTPServer, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = []
    monkeypatch.setattr(RayRunLauncher, "launch_run", lambda self, context: submitted.append(1))
    patient = PatientRayRunLauncher(nobody)
    looks = []

    def comes(seconds: float) -> None:
        """The head comes while the launcher waits for the second time."""
        looks.append(seconds)
        assert not submitted
        if len(looks) == 2:
            patient.address = f"http://127.0.0.1:{head.server_address[1]}"

    # Not `time.sleep` itself, which threads of other tests call as well.
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=comes))
    patient.launch_run(cast("LaunchRunContext", None))
    assert len(looks) == 2
    assert submitted == [1]


def test_a_waiting_run_is_not_ended_by_dagster_meanwhile() -> None:
    """It counts as starting, and one that starts for too long is marked failed."""
    longest = launcher._WAIT_S + launcher._LONGEST_PAUSE_S
    assert longest < SETTINGS["run_monitoring"]["start_timeout_seconds"]


@pytest.mark.slow
def test_a_run_is_given_up_if_no_head_comes(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_WAIT_S", 1.0)
    with pytest.raises(ConnectionError, match="Failed to connect to Ray"):
        PatientRayRunLauncher(nobody).launch_run(cast("LaunchRunContext", None))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(404, WorkerStatus.UNKNOWN, id="a new head knows no such job: it is gone"),
        pytest.param(400, WorkerStatus.UNKNOWN, id="it is not understood: waiting would not help"),
        pytest.param(429, WorkerStatus.RUNNING, id="the head is busy: nothing is known"),
        pytest.param(500, WorkerStatus.RUNNING, id="the head is ill: nothing is known"),
        pytest.param(503, WorkerStatus.RUNNING, id="the head starts: nothing is known"),
    ],
)
def test_only_a_job_that_is_gone_ends_its_run(
    answer: int,
    expected: WorkerStatus,
    head: ThreadingHTTPServer,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Head, "status", answer)
    patient = PatientRayRunLauncher(f"http://127.0.0.1:{head.server_address[1]}")
    patient.register_instance(instance)
    run = a_run(instance, {}, status=dg.DagsterRunStatus.STARTED)
    assert patient.check_run_worker_health(run).status is expected

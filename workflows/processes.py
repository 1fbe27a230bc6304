"""processes: opens Dagster's history, and ends runs whose process is gone.

A killed run stays "started" in Dagster's history for ever. As only one run may be active at a
time, no other run would leave the queue. Every run therefore records its process as a tag.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager

import dagster as dg

from pipelines.store.files import process_started
from pipelines.store.home import Home
from workflows.environment import dagster_folder

PROCESS_TAG = "vitlens/process"
_STARTED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_UNFINISHED = [*_STARTED, *map(dg.DagsterRunStatus, ("QUEUED", "NOT_STARTED", "STARTING"))]


@contextmanager
def history(home: Home) -> Generator[dg.DagsterInstance]:
    """Open the history of a home: its runs, schedules and sensors."""
    os.environ["DAGSTER_HOME"] = str(dagster_folder(home))
    with dg.DagsterInstance.get() as instance:
        yield instance


def process_tag(run_id: str) -> dict[str, str]:
    """Return this process as a run's tag: host, process id, start time and the run.

    The start time is needed since the system reuses process ids, and the run since a run that is
    begun again has the tags of the first until it states its own.
    """
    pid = os.getpid()
    return {PROCESS_TAG: f"{socket.gethostname()} {pid} {process_started(pid)} {run_id}"}


def end_abandoned(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process on this machine is gone, and return their ids."""
    abandoned = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_STARTED)):
        host, _, process = run.tags.get(PROCESS_TAG, "").partition(" ")
        pid, _, rest = process.partition(" ")
        started_at, _, of_run = rest.partition(" ")
        # Only its own machine can tell whether a process lives. Runs of former releases do not
        # name themselves.
        if host != socket.gethostname() or of_run not in ("", run.run_id):
            continue
        if process_started(int(pid)) != started_at:
            instance.report_run_failed(run, "its process is gone; run again to continue it")
            abandoned.append(run.run_id)
    return abandoned


def unfinished(instance: dg.DagsterInstance, job: str) -> str | None:
    """Return the id of a queued or active run of this job, if there is one."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=_UNFINISHED), limit=1)
    return runs[0].run_id if runs else None

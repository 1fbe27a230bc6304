"""processes: runs that Dagster holds for unfinished, and whether their process still lives.

A killed run stays "started" in Dagster's history for ever, and as only one run may go on at a
time, no other would ever leave the queue. Every run therefore states its process as a tag.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg

PROCESS_TAG = "vitlens/process"
_STARTED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_UNFINISHED = [*_STARTED, *map(dg.DagsterRunStatus, ("QUEUED", "NOT_STARTED", "STARTING"))]


def process_tag() -> dict[str, str]:
    """This process as a run's tag: host, id, and when it started, as ids are used again."""
    pid = os.getpid()
    return {PROCESS_TAG: f"{socket.gethostname()} {pid} {_started_at(pid)}"}


def end_abandoned(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs failed whose process on this machine is gone; their ids."""
    abandoned = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_STARTED)):
        host, _, process = run.tags.get(PROCESS_TAG, "").partition(" ")
        if host != socket.gethostname():
            continue
        pid, _, started_at = process.partition(" ")
        if _started_at(int(pid)) != started_at:
            instance.report_run_failed(run, "its process is gone; run again, and it goes on")
            abandoned.append(run.run_id)
    return abandoned


def unfinished(instance: dg.DagsterInstance, job: str) -> str | None:
    """The id of a run of this job that waits or goes on."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=_UNFINISHED), limit=1)
    return runs[0].run_id if runs else None


def _started_at(pid: int) -> str:
    """When a process started, in ticks since the machine did; empty if there is none.

    Not psutil's `create_time`: that moves when somebody sets the clock, ticks do not.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    after_name = stat.rpartition(")")[2].split()  # a name may hold spaces
    return after_name[19]

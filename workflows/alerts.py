"""alerts: tells a team's receivers that a run failed (`pipelines.registry.notices`).

Promises  a run of the command line is not told of: a person saw it fail. The error's own text is
          told, without secrets.
"""

from __future__ import annotations

import os

import dagster as dg

# Dagster does not export it; a blocking check that failed raises it.
from dagster._core.errors import DagsterAssetCheckFailedError

from pipelines.registry import notify
from pipelines.registry.notices.base import Notice
from pipelines.store.home import Home
from workflows.retries import COMMAND_LINE, FROM
from workflows.settings import REVISION_TAG, USER_TAG

PAGE = "VITLENS_DAGSTER_URL"  # of Dagster's web page, as people reach it
_LONGEST = 2000  # characters of an error
_EVERY_S = 30


@dg.run_failure_sensor(
    name="failed_runs",
    minimum_interval_seconds=_EVERY_S,
    # It starts nothing, and without receivers it does nothing.
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells mail, Slack or webhooks that a run failed (notices.yaml).",
)
def failed_runs(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """Tell of one failed run."""
    if context.dagster_run.tags.get(FROM) == COMMAND_LINE:
        return dg.SkipReason("a run of the command line: its user saw it fail")
    told = notify.send(notify.receivers(Home.from_environment().root), notice_of(context))
    context.log.info(f"told {told} receivers")
    return None


def notice_of(context: dg.RunFailureSensorContext) -> Notice:
    """Say which run failed, in which step, and why."""
    run, tags = context.dagster_run, context.dagster_run.tags
    failures = context.get_step_failure_events()
    steps = ", ".join(str(event.step_key) for event in failures)
    is_gate = any(_is_gate(event) for event in failures)
    page = os.environ.get(PAGE, "").rstrip("/")
    lines = [_reason(event) for event in failures] or [context.failure_event.message or ""]
    lines.append("the champion stays" if is_gate else "run it again: finished shards are reused")
    if page:
        lines.append(f"{page}/runs/{run.run_id}")
    return Notice(
        event="gate_failed" if is_gate else "run_failed",
        id=f"run/{run.run_id}",
        title=f"{run.job_name}: {'a gate' if is_gate else 'a run'} failed in {steps or 'no step'}",
        text="\n".join(lines),
        facts={
            "job": run.job_name,
            "run": run.run_id,
            "user": tags.get(USER_TAG),
            "code_revision": tags.get(REVISION_TAG),
        },
    )


def _is_gate(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    return error is not None and error.cls_name == DagsterAssetCheckFailedError.__name__


def _reason(event: dg.DagsterEvent) -> str:
    """Return the error of a step as it was raised, not as Dagster wraps it."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return (error.message.strip() if error else event.message or "")[:_LONGEST]

"""alerts: tells a team's receivers that a run failed (`pipelines.registry.notices`).

Promises  a run of the command line is not told of: a person saw it fail. The error's own text is
          told, without secrets; and whether Dagster begins the run again by itself.
"""

from __future__ import annotations

import os

import dagster as dg

# Dagster exports none of them; a blocking check that failed raises the error.
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._core.events import JobFailureData
from dagster._core.execution.retries import auto_reexecution_should_retry_run

from pipelines.registry import notify
from pipelines.registry.notices.base import Notice
from pipelines.store.home import Home
from workflows.retries import by_command_line
from workflows.settings import REVISION_TAG, stated_starter

PAGE = "VITLENS_DAGSTER_URL"  # of Dagster's web page, as people reach it
_LONGEST = 3000  # characters of the errors
_WILL_RETRY = "dagster/will_retry"
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
    if by_command_line(context.dagster_run.tags):
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
    reasons = [_reason(event) for event in failures] or [context.failure_event.message or ""]
    # Cut before what is to be done, which stands last.
    lines = [notify.clean("\n".join(reasons), _LONGEST)]
    will_retry = _begins_again(context)
    if is_gate:
        lines.append("the champion stays")
    if will_retry:
        lines.append("Dagster begins it again by itself: finished shards are reused")
    elif not is_gate:
        lines.append("run it again: finished shards are reused")
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
            "user": stated_starter(tags) or None,
            "code_revision": tags.get(REVISION_TAG),
            "will_retry": will_retry,
        },
    )


def _begins_again(context: dg.RunFailureSensorContext) -> bool:
    """Whether Dagster begins the run again by itself.

    It says so in a tag, right after the failure: a sensor may come in between. Then it is asked
    what the tag will say.
    """
    instance = context.instance
    run = instance.get_run_by_id(context.dagster_run.run_id)
    if run is None or not instance.run_retries_enabled:
        return False
    if stated := run.tags.get(_WILL_RETRY):
        return stated == "true"
    failure = context.failure_event.event_specific_data
    reason = failure.failure_reason if isinstance(failure, JobFailureData) else None
    failed = run.with_status(dg.DagsterRunStatus.FAILURE)
    return auto_reexecution_should_retry_run(instance, failed, reason)


def _is_gate(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    return error is not None and error.cls_name == DagsterAssetCheckFailedError.__name__


def _reason(event: dg.DagsterEvent) -> str:
    """Return the error of a step as it was raised, not as Dagster wraps it."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else event.message or ""

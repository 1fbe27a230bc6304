"""runs: figures of Dagster's runs and daemon."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from prometheus_client.core import GaugeMetricFamily

# The label of a job is `workflow`: Prometheus puts its own `job` over one of that name.
_STATES = ("QUEUED", "STARTING", "STARTED", "SUCCESS", "FAILURE", "CANCELED")


def read_runs(instance: dg.DagsterInstance, jobs: Sequence[str]) -> list[GaugeMetricFamily]:
    """Return the runs of every job by state, when one last succeeded, and the daemon's beats."""
    count = GaugeMetricFamily("vitlens_runs", "Runs of a job.", labels=("workflow", "state"))
    success = GaugeMetricFamily(
        "vitlens_last_success_seconds",
        "End of a job's last successful run [s].",
        labels=("workflow",),
    )
    for job in jobs:
        for state in _STATES:
            chosen = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus(state)])
            count.add_metric([job, state.lower()], instance.get_runs_count(chosen))
        chosen = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS])
        for record in instance.get_run_records(chosen, limit=1):
            success.add_metric([job], record.end_time or 0)
    return [count, success, _stale(instance, jobs), _beats(instance)]


def _stale(instance: dg.DagsterInstance, jobs: Sequence[str]) -> GaugeMetricFamily:
    """Return whether a modality's champion is older than its schedule allows."""
    family = GaugeMetricFamily(
        "vitlens_champion_stale",
        "Champion older than its schedule allows; of schedules that were looked at.",
        labels=("workflow",),
    )
    keys = {dg.AssetKey([job, "champion"]): job for job in jobs}
    for key, record in instance.get_freshness_state_records([*keys]).items():
        is_stale = record.freshness_state.name == "FAIL"
        family.add_metric([keys[key]], is_stale)
    return family


def _beats(instance: dg.DagsterInstance) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "vitlens_daemon_heartbeat_seconds",
        "Last sign of a daemon [s].",
        labels=("kind",),
    )
    for kind, beat in instance.get_daemon_heartbeats().items():
        family.add_metric([kind], beat.timestamp)
    return family

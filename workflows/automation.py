"""automation: the schedule and the sensor that start a modality's job.

Promises  both are off until somebody switches them on: opening the UI must not start a
          training. A tick that starts no run says why in its history.
"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from pipelines.config import RunConfig
from pipelines.objects.opening import state_of_mirrors
from pipelines.registry.version import CHAMPION, ModelVersion
from pipelines.store.artifacts import digest
from pipelines.store.folder_state import folder_state
from vitlens_core.errors import VitlensError
from workflows.current import current_version
from workflows.processes import end_abandoned, unfinished
from workflows.settings import run_config
from workflows.spec import Schedule, Sensor, Workflow
from workflows.workplace import Workplace

Decision = dg.RunRequest | dg.SkipReason


def schedule_of(
    workflow: Workflow, schedule: Schedule, job: dg.UnresolvedAssetJobDefinition
) -> dg.ScheduleDefinition:
    """Build the schedule: it runs at the cron's times, except while a run of the modality is
    unfinished or when nothing has changed since the last one."""

    @dg.schedule(
        name=schedule.name_in(workflow.modality),
        job=job,
        cron_schedule=schedule.cron,
        execution_timezone=schedule.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Runs the profile {schedule.profile} if one of its results is out of date.",
    )
    def due(
        context: dg.ScheduleEvaluationContext, workplace: dg.ResourceParam[Workplace]
    ) -> Decision:
        end_abandoned(context.instance)
        if run_id := unfinished(context.instance, workflow.modality):
            return dg.SkipReason(f"run {run_id[:8]} of {workflow.modality} is not finished yet")
        if version := _current(workplace, workflow, schedule.profile):
            _confirm(context.instance, workflow.modality, version)
            return dg.SkipReason(
                f"{version.name} version {version.version} is made of the present source, settings "
                "and code: nothing to do"
            )
        return dg.RunRequest(run_config=run_config(workflow.modality, schedule.profile))

    return due


def freshness_of(schedule: Schedule) -> dg.FreshnessPolicy:
    """Return how old a champion may be: made, or found to be current, by a tick of the schedule."""
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=schedule.fresh_for_h))


def _confirm(instance: dg.DagsterInstance, modality: str, version: ModelVersion) -> None:
    """State that the champion is up to date, or it would grow stale while nothing changes."""
    if CHAMPION not in version.aliases:
        return
    key = dg.AssetKey([modality, "champion"])
    metadata = {"version": version.version, "confirmed": True}
    instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=metadata))


def sensor_of(
    workflow: Workflow, sensor: Sensor, job: dg.UnresolvedAssetJobDefinition
) -> dg.SensorDefinition:
    """Build the sensor: it runs the job when the source has changed and is stable again.

    A data set that is still being copied looks different at each evaluation, so a state counts
    only when two evaluations in a row find it. The cursor stores the state of the last run and
    the state seen last.
    """

    @dg.sensor(
        name=sensor.name_in(workflow.modality),
        job=job,
        minimum_interval_seconds=sensor.every_s,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Runs the profile {sensor.profile} when its source has changed.",
    )
    def changed(context: dg.SensorEvaluationContext) -> Decision:
        end_abandoned(context.instance)
        try:
            state = source_state(workflow.config(sensor.profile))
        except VitlensError as error:
            return dg.SkipReason(f"the source cannot be read: {error}")
        ran, _, seen = (context.cursor or "").partition(" ")
        if state == ran:
            context.update_cursor(ran)
            return dg.SkipReason("the source has not changed since the last run")
        if state != seen:
            context.update_cursor(f"{ran} {state}")
            return dg.SkipReason(
                f"the source has changed; a run starts if it is the same in {sensor.every_s} s"
            )
        context.update_cursor(state)
        # Dagster runs a key once. With the former state in it, a source that returns to an
        # older state is run again.
        return dg.RunRequest(
            run_key=f"{ran}-{state}", run_config=run_config(workflow.modality, sensor.profile)
        )

    return changed


def _current(workplace: Workplace, workflow: Workflow, profile: str) -> ModelVersion | None:
    """Like `current_version`, but None if the source cannot be listed: the run then starts and
    reports the failure."""
    try:
        return current_version(workplace, workflow, profile)
    except VitlensError:
        return None


def source_state(config: RunConfig) -> str:
    """Return a digest of the present state of a run's source, without opening or fetching data.

    For a local data set or mirror it covers the names, sizes and modification times of its files;
    for a remote mirror, the version tags of its two annotation files.
    Recordings that are generated, or come in a package of one version, never change.

    Raises:
        ConfigError: no such data set or mirror.
        TransientError: it cannot be read at present.
    """
    source = config.source
    if source is None:
        return state_of_mirrors(config.objects)
    if not source.is_local:
        return digest({"kind": source.kind, "root": source.root})
    return folder_state(source.folder())

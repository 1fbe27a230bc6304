"""runner: a modality's Dagster job, run in this process against the instance the UI shows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache

import dagster as dg

# Not exported by dagster: raised when a blocking check failed.
from dagster._core.errors import DagsterAssetCheckFailedError, DagsterExecutionInterruptedError

from pipelines.flow import STEP_NAMES
from pipelines.store.artifacts import Artifact
from workflows.artifact_io import artifact_of
from workflows.definitions import LOG_FILE, defs
from workflows.environment import dagster_folder
from workflows.processes import end_abandoned
from workflows.settings import run_config
from workflows.spec import load_workflow
from workflows.workplace import RESOURCE, Workplace


class RunOutcome(Enum):
    """How a run ended that did not fail."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"  # a gate failed


@cache  # half a second, and a sweep runs many times
def definitions() -> dg.Definitions:
    """Every workflow, as this process found them first."""
    return defs()


def execute(
    workplace: Workplace, modality: str, profile: str, overrides: Sequence[str]
) -> RunOutcome:
    """Run every step; finished ones are reused.

    Raises:
        Whatever a step raised, as it raised it.
        KeyboardInterrupt: stopped by the user.
    """
    job = definitions().resolve_job_def(modality)
    try:
        _run(workplace, job, run_config(modality, profile, overrides))
    except DagsterAssetCheckFailedError:
        return RunOutcome.CHALLENGER
    return RunOutcome.CHAMPION


def evaluate(
    workplace: Workplace,
    modality: str,
    profile: str,
    overrides: Sequence[str],
    tags: Mapping[str, str],
) -> dict[str, Artifact]:
    """Run the steps up to `evaluation`; nothing is registered, and no gate is held.

    Args:
        tags: what the history of runs is to say of this one.

    Returns:
        The workflow's artifacts by step.

    Raises:
        As `execute` does.
    """
    job = definitions().resolve_job_def(modality)
    wanted = STEP_NAMES[: STEP_NAMES.index("evaluation") + 1]
    keys = [key for key in job.asset_layer.selected_asset_keys if key.path[-1] in wanted]
    settings = run_config(modality, profile, overrides)
    result = _run(workplace, job, settings, asset_selection=keys, tags=tags)
    made = {
        event.asset_key: artifact_of(event.step_materialization_data.materialization)
        for event in result.get_asset_materialization_events()
    }
    workflow = load_workflow(modality)
    names = [name for name in workflow.step_names if name in wanted]
    return {name: made[dg.AssetKey([modality, name])] for name in names}


def _run(
    workplace: Workplace,
    job: dg.JobDefinition,
    settings: Mapping[str, object],
    asset_selection: Sequence[dg.AssetKey] | None = None,
    tags: Mapping[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    os.environ["DAGSTER_HOME"] = str(dagster_folder(workplace.home))
    with dg.DagsterInstance.get() as instance:
        end_abandoned(instance)
        try:
            return job.execute_in_process(
                {**settings, "loggers": {LOG_FILE: {}}},
                instance,
                asset_selection=asset_selection,
                resources={RESOURCE: workplace},
                tags={"vitlens/from": "command line", **(tags or {})},
            )
        except DagsterExecutionInterruptedError as error:
            raise KeyboardInterrupt from error

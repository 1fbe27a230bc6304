"""runner: runs a modality's Dagster job in this process, on the instance that the UI shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache

import dagster as dg

# Dagster does not export them; the first is raised when a blocking check failed.
from dagster._core.errors import DagsterAssetCheckFailedError, DagsterExecutionInterruptedError

from pipelines.flow import STEP_NAMES
from pipelines.store.artifacts import Artifact
from pipelines.store.pieces import Piece
from workflows.artifact_io import LEFT_OUT, artifact_of
from workflows.backfill import COUNTED, job_name
from workflows.definitions import LOG_FILE, defs
from workflows.processes import end_abandoned, history
from workflows.retries import COMMAND_LINE, FROM
from workflows.settings import run_config
from workflows.spec import load_workflow
from workflows.workplace import Workplace


class RunOutcome(Enum):
    """How a run ended if it did not fail."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"  # a gate failed


@cache  # half a second, and a sweep runs many times
def definitions() -> dg.Definitions:
    """Return the definitions of every workflow, as first loaded by this process."""
    return defs()


def execute(
    workplace: Workplace, modality: str, profile: str, overrides: Sequence[str]
) -> RunOutcome:
    """Run every step; finished ones are reused.

    Raises:
        Exception: whatever a step raised, unchanged.
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
    """Run the steps up to `evaluation`; nothing is registered, and no gate is checked.

    Args:
        tags: tags of this run in Dagster's history.

    Returns:
        The workflow's artifacts by step.

    Raises:
        Exception: as `execute`.
    """
    job = definitions().resolve_job_def(modality)
    step_names = STEP_NAMES[: STEP_NAMES.index("evaluation") + 1]
    keys = [key for key in job.asset_layer.selected_asset_keys if key.path[-1] in step_names]
    settings = run_config(modality, profile, overrides)
    result = _run(workplace, job, settings, asset_selection=keys, tags=tags)
    artifacts = {
        event.asset_key: artifact_of(
            event.step_materialization_data.materialization, workplace.home.store
        )
        for event in result.get_asset_materialization_events()
        if LEFT_OUT not in event.step_materialization_data.materialization.metadata
    }
    workflow = load_workflow(modality)
    names = [name for name in workflow.step_names if name in step_names]
    keys = {name: dg.AssetKey([modality, name]) for name in names}
    return {name: artifacts[key] for name, key in keys.items() if key in artifacts}


def build_piece(
    workplace: Workplace, modality: str, profile: str, overrides: Sequence[str], piece: Piece
) -> dict[str, int]:
    """Build one piece of a modality's data set.

    Returns:
        How many shards and samples it has, and how many are quarantined.

    Raises:
        Exception: as `execute`.
    """
    job = definitions().resolve_job_def(job_name(modality))
    settings = run_config(modality, profile, overrides)
    result = _run(workplace, job, settings, partition=str(piece))
    [event] = result.get_asset_materialization_events()
    shown = event.step_materialization_data.materialization.metadata
    return {name: int(str(shown[name].value)) for name in COUNTED}


def _run(
    workplace: Workplace,
    job: dg.JobDefinition,
    settings: Mapping[str, object],
    asset_selection: Sequence[dg.AssetKey] | None = None,
    tags: Mapping[str, str] | None = None,
    partition: str | None = None,
) -> dg.ExecuteInProcessResult:
    with history(workplace.home) as instance, workplace.entered():
        end_abandoned(instance)
        try:
            return job.execute_in_process(
                {**settings, "loggers": {LOG_FILE: {}}},
                instance,
                partition_key=partition,
                asset_selection=asset_selection,
                tags={FROM: COMMAND_LINE, **(tags or {})},
            )
        except DagsterExecutionInterruptedError as error:
            raise KeyboardInterrupt from error

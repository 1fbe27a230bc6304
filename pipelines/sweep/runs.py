"""runs: logs a sweep as MLflow runs.

Writes    to the experiment `vitlens-<modality>-sweeps` one run of the sweep (table, plot, page)
          and below it one of every point (params, figures, training curves).
Promises  a repeated sweep replaces its runs; nothing is registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipelines.evaluation.presenter import figure_name
from pipelines.registry.figures import log_figures
from pipelines.registry.models import connect, experiment, model_name
from pipelines.registry.tracking import FAILURE_TAG, code_revision, log_params
from pipelines.sweep.results import FailedPoint, MadePoint, Sweep, SweepPoint, SweepResults

if TYPE_CHECKING:
    from mlflow import MlflowClient

SWEEP_TAG = "vitlens.sweep"
_PARENT_TAG = "mlflow.parentRunId"


def record(home: Path, sweep: Sweep, results: SweepResults, folder: Path) -> str:
    """Log the sweep with the files of `folder`, and return the id of its run."""
    client = connect(home)
    where = experiment(client, home, f"{model_name(sweep.modality)}-sweeps")
    for former in client.search_runs([where], f"tags.`{SWEEP_TAG}` = '{sweep.fingerprint}'"):
        client.delete_run(former.info.run_id)
    revision = code_revision()
    tags = {SWEEP_TAG: sweep.fingerprint, "vitlens.modality": sweep.modality}
    tags |= {"vitlens.axis": sweep.axis, "vitlens.profile": sweep.profile}
    tags |= {"vitlens.code_revision": revision} if revision else {}
    name = f"{sweep.axis}-{sweep.fingerprint[:8]}"
    run_id = client.create_run(where, run_name=name, tags=tags).info.run_id
    for point in sweep.points:
        _record_point(client, where, point, tags | {_PARENT_TAG: run_id})
    client.log_table(run_id, table(results), "table.json")
    for file in sorted(folder.iterdir()):
        client.log_artifact(run_id, str(file))
    client.set_terminated(run_id)
    return run_id


def table(results: SweepResults) -> dict[str, list[JsonValue]]:
    """Return the sweep's table by column; missing figures of a failed point are empty."""
    rows = [_row(point) for point in results.points]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _record_point(
    client: MlflowClient, experiment_id: str, point: SweepPoint, tags: Mapping[str, str]
) -> None:
    failed = {FAILURE_TAG: point.failure} if point.failure else {}
    run = client.create_run(experiment_id, run_name=point.label, tags={**tags, **failed})
    run_id = run.info.run_id
    log_params(client, run_id, point.config)
    if not point.failure:
        log_figures(client, run_id, point.artifacts)
    client.set_terminated(run_id, "FAILED" if point.failure else "FINISHED")


def _row(point: MadePoint | FailedPoint) -> dict[str, JsonValue]:
    row: dict[str, JsonValue] = {"point": point.label, "failure": point.failure or ""}
    if isinstance(point, FailedPoint):
        return row
    if validation := point.validation:
        row |= {
            f"validation {figure_name('r1')}": validation.r1,
            "validated against": validation.against,
        }
    top1, chance = point.zero_shot.top1, point.zero_shot.chance
    row |= {f"held-out {figure_name('top1')}": top1.value, "low": top1.low, "high": top1.high}
    row |= {"emergent": point.emergent, "chance": chance}
    row |= {figure_name(f"{way}_r1"): recalls.r1.value for way, recalls in point.retrieval.items()}
    return row | point.training.model_dump()

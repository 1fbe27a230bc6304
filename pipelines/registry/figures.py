"""figures: the numbers of an evaluated lens in its MLflow run, under MLflow's names and under ours.

Writes    metrics in groups, as `zero_shot/top1` and `train/loss`: MLflow's pages show a section for
          each. Bounds, counts and other constants are tags by section: as metrics they were fifty
          charts of one bar.
Promises  everywhere else a figure has its dotted path (`zero_shot.top1`). No point of a curve is
          logged twice.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from pipelines.evaluation.result import read_result
from pipelines.execution.logger import Point, points_of
from pipelines.lens.curves import TrainingCurves, read_curves
from pipelines.registry import writes
from pipelines.store.artifacts import Artifact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

VALIDATED_TAG = "vitlens.validated_against"
_DETAILS_TAG = "vitlens.figures."  # followed by a section
_CURVES = ("train.", "val.")
_CONSTANTS = {"n", "groups", "chance", "classes", "trained_with", "ece_before"}
_BATCH_METRICS = 1000  # limit of MLflow's log_batch
_DETAILS = TypeAdapter(dict[str, float])


def metric_of(figure: str) -> str:
    """Return the name of a figure as a metric: `zero_shot.top1` → `zero_shot/top1`."""
    return figure.replace(".", "/", 1)


def figure_of(metric: str) -> str:
    """Return the path of the figure that a metric has."""
    return metric.replace("/", ".", 1)


def figures_of(run: Run) -> dict[str, float]:
    """Return every figure of a run, by its dotted path."""
    found = {figure_of(name): value for name, value in run.data.metrics.items()}
    for name, tag in run.data.tags.items():
        if name.startswith(_DETAILS_TAG):
            found |= _parsed(tag)
    return found


def log_figures(client: MlflowClient, run_id: str, artifacts: Mapping[str, Artifact]) -> None:
    """Log the evaluation's figures, the training curves and the seconds of each step of the flow.

    A tag states the kind of target that validation used.
    """
    log_curves(client, run_id, read_curves(artifacts["lens"]))
    final = read_result(artifacts["evaluation"]).figures()
    final |= {f"seconds.{step}": a.manifest.seconds for step, a in artifacts.items()}
    log_results(client, run_id, final)


def log_results(client: MlflowClient, run_id: str, figures: Mapping[str, float]) -> None:
    """Log figures that do not change any more: results as metrics, details as tags."""
    sections: dict[str, dict[str, float]] = defaultdict(dict)
    for name in filter(_is_detail, figures):
        sections[name.partition(".")[0]][name] = figures[name]
    for section, details in sections.items():
        writes.set_run_tag(client, run_id, _DETAILS_TAG + section, json.dumps(details))
    results = {name: value for name, value in figures.items() if not _is_detail(name)}
    log_points(client, run_id, [Point(0, results)])


def log_curves(client: MlflowClient, run_id: str, curves: TrainingCurves) -> None:
    """Log the points of the curves that the run lacks: all, or those that a logger missed."""
    logged = logged_steps(client, run_id)
    validated = [point.model_dump() for point in curves.val]
    missing = []
    for point in [*points_of("train", curves.train), *points_of("val", validated)]:
        lacks = {n: v for n, v in point.figures.items() if point.step not in logged.get(n, ())}
        missing.append(Point(point.step, lacks, point.at))
    log_points(client, run_id, missing)
    if curves.validated_against:
        writes.set_run_tag(client, run_id, VALIDATED_TAG, curves.validated_against)


def logged_steps(client: MlflowClient, run_id: str) -> dict[str, set[int]]:
    """Return the logged steps of every figure of a run's curves."""
    names = [figure_of(name) for name in client.get_run(run_id).data.metrics]
    return {
        name: {metric.step for metric in client.get_metric_history(run_id, metric_of(name))}
        for name in names
        if name.startswith(_CURVES)
    }


def log_points(client: MlflowClient, run_id: str, points: Sequence[Point]) -> None:
    """Log figures by step, as many at a time as MLflow takes."""
    from mlflow.entities import Metric

    logged = [
        Metric(metric_of(name), value, int(point.at * 1000), point.step)
        for point in points
        for name, value in point.figures.items()
    ]
    for start in range(0, len(logged), _BATCH_METRICS):
        client.log_batch(run_id, metrics=logged[start : start + _BATCH_METRICS])


def _is_detail(figure: str) -> bool:
    """Whether a figure only says how sure a result is, or on what it rests."""
    section, *path = figure.split(".")
    return section == "supervision" or "ci95" in path or not _CONSTANTS.isdisjoint(path[-1:])


def _parsed(tag: str) -> dict[str, float]:
    """Return the figures of a tag; none if others have changed it to something else."""
    try:
        return _DETAILS.validate_json(tag)
    except ValidationError:
        return {}

"""registry: figures of registered versions and of trainings that run now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from pipelines.registry import models
from pipelines.registry.figures import figures_of
from pipelines.registry.registry import Registry
from pipelines.registry.server import EXPERIMENT
from pipelines.registry.tracking import MODALITY_TAG
from pipelines.registry.version import CHAMPION

if TYPE_CHECKING:
    from mlflow.entities import Run

_MOST_TRAININGS = 100


def read_versions(registry: Registry, modalities: Sequence[str]) -> list[GaugeMetricFamily]:
    """Return how many versions every modality has, and which of them is champion."""
    versions = _gauge("vitlens_model_versions", "Registered versions.")
    newest = _gauge("vitlens_newest_created_seconds", "When the newest was registered [s].")
    failed = _gauge("vitlens_newest_failed_gates", "Gates that the newest version failed.")
    champion = _gauge("vitlens_champion_version", "Number of the champion.")
    age = _gauge("vitlens_champion_created_seconds", "When the champion was registered [s].")
    for modality, found in registry.by_modality(modalities).items():
        versions.add_metric([modality], len(found))
        if found:
            newest.add_metric([modality], found[0].created_at.timestamp())
            failed.add_metric([modality], sum(not gate.passed for gate in found[0].gates))
        for version in found:
            if CHAMPION in version.aliases:
                champion.add_metric([modality], version.version)
                age.add_metric([modality], version.created_at.timestamp())
    return [versions, newest, failed, champion, age]


def read_trainings(registry: Registry) -> list[GaugeMetricFamily]:
    """Return the last figures of every run of MLflow that is not finished.

    They are there while a lens is trained if `tracking.loggers` has `mlflow`.
    """
    client = models.connect(registry.home)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found: Sequence[Run] = ()
    if experiment is not None:
        found = client.search_runs(
            [experiment.experiment_id], "attributes.status = 'RUNNING'", max_results=_MOST_TRAININGS
        )
    labels = ("modality", "run")
    figures = GaugeMetricFamily(
        "vitlens_training_figure", "Last figures of a training.", labels=(*labels, "figure")
    )
    started = GaugeMetricFamily(
        "vitlens_training_started_seconds", "When a training began [s].", labels=labels
    )
    for run in found:
        of_run = [run.data.tags.get(MODALITY_TAG, ""), run.info.run_id]
        started.add_metric(of_run, run.info.start_time / 1000)
        for name, value in figures_of(run).items():
            figures.add_metric([*of_run, name], value)
    return [figures, started]


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=("modality",))

"""Opens the sources of a workplace's figures: its store, registry, trainings, Dagster, backup."""

from __future__ import annotations

import os

import dagster as dg

from workflows.environment import dagster_folder
from workflows.exporter.backups import read_backup
from workflows.exporter.collector import SourcesCollector
from workflows.exporter.registry import read_trainings, read_versions
from workflows.exporter.runs import read_runs
from workflows.exporter.store import StoreReader
from workflows.modalities import modality_names
from workflows.spec import load_workflow
from workflows.workplace import Workplace

# The next look comes soon: MLflow's client would try again for minutes instead.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def open_collector(workplace: Workplace) -> SourcesCollector:
    """Return the collector of a workplace's store, registry, trainings, Dagster and backup."""
    os.environ.update(_IMPATIENT)
    os.environ["DAGSTER_HOME"] = str(dagster_folder(workplace.home))
    instance = dg.DagsterInstance.get()
    names = modality_names()
    jobs = [*names, *(f"{name}_pieces" for name in names if load_workflow(name).pieces)]
    return SourcesCollector(
        {
            "store": StoreReader(workplace.home.store).read,
            "registry": lambda: read_versions(workplace.registry, names),
            "trainings": lambda: read_trainings(workplace.registry),
            "dagster": lambda: read_runs(instance, jobs),
            "backup": lambda: read_backup(workplace.home.store),
        }
    )

"""server: connects to the server that MLFLOW_TRACKING_URI names, or to a home's own store."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
EXPERIMENT = "vitlens"


def tracking_uri(home: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or else the sqlite database of `home`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database(home)}"


def connect(home: Path) -> MlflowClient:
    """Return a client of the tracking server, or of `home`'s own store, which is made if needed."""
    # Before the import: MLflow reads these variables while it is imported.
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    if is_own_store(home):
        home.mkdir(parents=True, exist_ok=True)
    return mlflow.MlflowClient(tracking_uri=tracking_uri(home))


def experiment(client: MlflowClient, home: Path, name: str = EXPERIMENT) -> str:
    """Return the id of an experiment, which is created if needed."""
    if existing := client.get_experiment_by_name(name):
        return existing.experiment_id
    served = is_served(home)
    # Without a server MLflow would write files to ./mlruns of the working directory.
    location = None if served else (home.absolute() / "mlartifacts").as_uri()
    return client.create_experiment(name, artifact_location=location)


def database(home: Path) -> Path:
    return home.absolute() / "mlflow.db"


def is_own_store(home: Path) -> bool:
    return tracking_uri(home) == f"sqlite:///{database(home)}"


def is_served(home: Path) -> bool:
    """Whether the registry is a server's, which says where its files are."""
    return tracking_uri(home).startswith(("http://", "https://"))

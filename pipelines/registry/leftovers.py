"""leftovers: what the registry of a home keeps without need, and its removal.

Reads     MLflow's deleted runs (those that a repeated sweep or registration replaced), the models
          that only they logged, and folders of files that no run and no model names.
Promises  whatever a registered version names is kept. Nothing outside of the home is deleted; a
          server's registry is its administrator's.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.registry import own_store
from pipelines.registry.server import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

_MODELS = "models"  # folder of logged models, beside those of runs
_RUN, _MODEL, _FILES = "run", "model", "files"


@dataclass(frozen=True)
class Leftover:
    """A deleted run, a model that it logged, or a folder of neither.

    Attributes:
        identity: of the run or the model; empty for a folder.
    """

    kind: str
    identity: str
    what: str
    folder: Path
    size_bytes: int
    age_s: float


def leftovers(home: Path) -> list[Leftover]:
    """Return what could be removed from the home's own registry, without changing anything."""
    if not own_store.is_own(home) or not own_store.exists(home):
        return []
    client = connect(home)
    runs, models = _runs(client), _models(client)
    deleted = {run.info.run_id for run in runs if run.info.lifecycle_stage == "deleted"}
    found = [_of_run(home, run) for run in runs if run.info.run_id in deleted]
    found += [_of_model(home, model) for model in models if model.source_run_id in deleted]
    known = {run.info.run_id for run in runs} | {model.model_id for model in models}
    kept_runs, kept_files = _of_versions(client, home)
    return [
        item
        for item in [*filter(None, found), *_unnamed(home, known)]
        if item.identity not in kept_runs
        and not any(file.is_relative_to(item.folder) for file in kept_files)
    ]


def remove(home: Path, chosen: Sequence[Leftover]) -> None:
    """Remove leftovers with their files, for good."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # `mlflow gc` calls the same two; it would also take experiments that somebody deleted.
    tables = SqlAlchemyStore(own_store.tracking_uri(home), own_store.files_uri(home))
    for item in chosen:
        # Files first: what a kill leaves is still listed, and removed by the next call.
        shutil.rmtree(item.folder, ignore_errors=True)
        if item.kind == _RUN:
            tables._hard_delete_run(item.identity)
        elif item.kind == _MODEL:
            tables.delete_logged_model(item.identity)
            tables._hard_delete_logged_model(item.identity)


def _runs(client: MlflowClient) -> list[Run]:
    """Return every run of every experiment, deleted ones among them."""
    from mlflow.entities import ViewType

    where = _experiments(client)
    found: list[Run] = []
    token: str | None = ""
    while token is not None:
        page = client.search_runs(where, run_view_type=ViewType.ALL, page_token=token or None)
        found += page
        token = page.token or None
    return found


def _models(client: MlflowClient) -> list[LoggedModel]:
    where, found = _experiments(client), []
    token: str | None = ""
    while token is not None:
        page = client.search_logged_models(where, page_token=token or None)
        found += page
        token = page.token or None
    return found


def _experiments(client: MlflowClient) -> list[str]:
    from mlflow.entities import ViewType

    found = client.search_experiments(view_type=ViewType.ALL)
    return [experiment.experiment_id for experiment in found]


def _of_versions(client: MlflowClient, home: Path) -> tuple[set[str], list[Path]]:
    """Return the runs and the files that registered versions name; they have no ids of models."""
    found, token = [], None
    while token != "":
        page = client.search_model_versions(page_token=token)
        found += page
        token = page.token or ""
    runs = {str(version.run_id) for version in found if version.run_id}
    sources = [str(version.source) for version in found]
    return runs, [own_store.place(home, s) for s in sources if f"/{own_store.FILES}/" in s]


def _of_run(home: Path, run: Run) -> Leftover | None:
    at = (run.info.end_time or run.info.start_time) / 1000
    what = f"MLflow run {run.info.run_name}, deleted"
    return _leftover(home, _RUN, run.info.run_id, what, str(run.info.artifact_uri), at)


def _of_model(home: Path, model: LoggedModel) -> Leftover | None:
    what = f"MLflow model {model.name} of a deleted run"
    at = model.last_updated_timestamp / 1000
    return _leftover(home, _MODEL, model.model_id, what, model.artifact_location, at)


def _leftover(
    home: Path, kind: str, identity: str, what: str, uri: str, at: float
) -> Leftover | None:
    """Return None for files that do not lie in this home: they are others'."""
    if not uri.startswith(f"{own_store.files_uri(home)}/"):
        return None
    folder = own_store.place(home, uri)
    if folder.name == "artifacts":  # MLflow puts them into a folder named after the run
        folder = folder.parent
    return Leftover(kind, identity, what, folder, _size([folder]), time.time() - at)


def _unnamed(home: Path, known: Iterable[str]) -> list[Leftover]:
    """Return folders of runs and models that MLflow does not know (any more)."""
    root, names = home / own_store.FILES, set(known)
    folders = [*root.glob("*"), *(root / _MODELS).glob("*")]
    return [
        Leftover(_FILES, "", f"MLflow files of no run: {folder.name}", folder, _size([folder]), age)
        for folder in folders
        if folder.is_dir() and folder.name != _MODELS and folder.name not in names
        for age in [time.time() - folder.stat().st_mtime]
    ]


def _size(folders: Iterable[Path]) -> int:
    files = (file for folder in folders for file in folder.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files)

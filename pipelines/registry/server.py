"""server: connects to the server that MLFLOW_TRACKING_URI names, or to a home's own store.

A server is asked once and briefly whether it answers: MLflow itself tries for minutes and then
prints an error of its connection.
"""

from __future__ import annotations

import logging
import os
import urllib.error
import urllib.request
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.registry import own_store
from pipelines.store.text import redacted
from vitlens_core.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
EXPERIMENT = "vitlens"
MLFLOW_PORT = 5000  # of `vitlens ui`, unless it is told another
OWN_PAGES = f"http://127.0.0.1:{MLFLOW_PORT}"
_TIMEOUT_S, _BUSY_S = 5.0, 25.0
# Of homes' own stores: a run asks a dozen times.
_OPENED: dict[tuple[str, int, int], MlflowClient] = {}


def connect(home: Path) -> MlflowClient:
    """Return a client of the tracking server, or of `home`'s own store, which is made if needed."""
    # Before the import: MLflow reads these variables while it is imported.
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    address = own_store.tracking_uri(home)
    if not own_store.is_own(home):
        require_answer(address)
        return mlflow.MlflowClient(tracking_uri=address)
    _forget_places()
    with own_store.opening(home):
        if client := _OPENED.get(_identity(home)):
            return client
        client = mlflow.MlflowClient(tracking_uri=address)
        client.search_registered_models(max_results=1)  # MLflow makes the tables at a first use
        _OPENED[_identity(home)] = client
    return client


def _forget_places() -> None:
    """Let MLflow look up again where files lie.

    It remembers that by the id of a run alone, and a copy of a home has the same ids: a process
    that opened both would write into the other.
    """
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


def _identity(home: Path) -> tuple[str, int, int]:
    """Tell a home's own store from another that was put in its place since it was opened."""
    database = own_store.database(home)
    if not database.exists():
        return str(database), 0, 0
    status = database.stat()
    return str(database), status.st_dev, status.st_ino


def experiment(client: MlflowClient, home: Path, name: str = EXPERIMENT) -> str:
    """Return the id of an experiment, which is created if needed."""
    from mlflow.exceptions import MlflowException

    if existing := client.get_experiment_by_name(name):
        return existing.experiment_id
    # Without a server MLflow would write files to ./mlruns of the working directory.
    location = None if is_served(home) else own_store.files_uri(home)
    try:
        # Otherwise MLflow's pages guess, and open on those of generative models.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return client.create_experiment(name, artifact_location=location, tags=kind)
    except MlflowException:
        if existing := client.get_experiment_by_name(name):  # another process was faster
            return existing.experiment_id
        raise


def is_served(home: Path) -> bool:
    """Whether the registry is a server's, which says where its files are."""
    return own_store.tracking_uri(home).startswith(("http://", "https://"))


def page(home: Path, path: str) -> str:
    """Return the address of one of MLflow's pages: the server's, or of `vitlens ui` by default.

    Args:
        path: behind the `#`, as `/experiments/1/runs`.
    """
    base = redacted(own_store.tracking_uri(home)) if is_served(home) else OWN_PAGES
    return f"{base.rstrip('/')}/{fragment(path)}"


def fragment(path: str) -> str:
    """Return a page within MLflow's, in its mode for trained models: else it is for agents."""
    return f"#{path}?workflowType=machine_learning"


@cache
def require_answer(uri: str) -> None:
    """Ask a server at http(s):// for its health; other addresses are no servers of MLflow.

    Raises:
        TransientError: nothing answers there.
        ConfigError: it asks for credentials, or something else than MLflow answers.
    """
    if not uri.startswith(("http://", "https://")):
        return
    named = f"the tracking server at MLFLOW_TRACKING_URI={redacted(uri)}"
    try:
        try:
            _ask(uri, _TIMEOUT_S)
        except TimeoutError:  # a server that is busy, where one that is away refuses at once
            _ask(uri, _BUSY_S)
    except urllib.error.HTTPError as error:
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return  # it is there; MLflow sends credentials, and this question had none
        raise ConfigError(
            f"{named} answers {error.code} to /health; name the address of an MLflow server"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TransientError(
            f"{named} does not answer ({redacted(str(reason))}); start "
            "it, correct the address, or unset MLFLOW_TRACKING_URI to use the registry of the home"
        ) from error


def _ask(uri: str, timeout_s: float) -> None:
    try:
        # http or https, as `require_answer` has checked.
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=timeout_s):  # noqa: S310
            return
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise error.reason from error
        raise

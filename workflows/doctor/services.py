"""services: the store, the tracking server, Dagster."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

from pipelines.registry import notify, own_store, server
from pipelines.store.files import storage_errors, write_atomic
from pipelines.store.home import Home
from pipelines.store.text import redacted
from workflows.doctor.finding import Finding
from workflows.environment import dagster_folder

if TYPE_CHECKING:
    import dagster as dg

_PROBE = b"vitlens doctor"
_LONGEST_VERSION = 40  # characters
_SILENT_S = 120  # a daemon beats every half minute
# An answer is wanted soon: MLflow's client would try again for minutes instead.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


def check_store(home: Home) -> Finding:
    """Write, read and delete a file."""
    root, name = home.store.root, redacted(str(home.store.root))
    began = time.perf_counter()
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".doctor-{uuid.uuid4().hex[:8]}"
        write_atomic(probe, _PROBE)
        read = probe.read_bytes()
        probe.unlink()
    if read != _PROBE:
        return Finding("store", "failed", f"{name} gives other bytes than were written", "")
    took_ms = 1000 * (time.perf_counter() - began)
    return Finding("store", "ok", f"{name}: written, read and deleted in {took_ms:.0f} ms")


def check_tracking(home: Home) -> Finding:
    """Ask the registry for its experiments, with this user's account."""
    from mlflow.exceptions import MlflowException

    os.environ.update(_IMPATIENT)
    address = redacted(own_store.tracking_uri(home.root))
    if own_store.is_own(home.root) and not own_store.exists(home.root):
        return Finding("tracking", "ok", f"{address}: made by the first run")
    try:
        client = server.connect(home.root)
        client.search_experiments(max_results=1)
    except MlflowException as error:
        mend = "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and that its database"
        mend += " has this release's tables (mlflow db upgrade)"
        return Finding("tracking", "failed", f"{address}: {redacted(str(error))[:300]}", mend)
    return (
        _of_server(address) if server.is_served(home.root) else Finding("tracking", "ok", address)
    )


def _of_server(address: str) -> Finding:
    """Compare the server's release with the one here."""
    import mlflow
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    # With this user's account: a server that has accounts asks for one here too.
    credentials = get_default_host_creds(os.environ["MLFLOW_TRACKING_URI"])
    answer = http_request(credentials, "/version", "GET")
    answer.raise_for_status()
    theirs = answer.text[:_LONGEST_VERSION]
    found = f"{address}: MLflow {theirs}"
    if theirs.split(".")[:2] != mlflow.__version__.split(".")[:2]:
        mend = "bring both to one release; migrate the server's database first (mlflow db upgrade)"
        return Finding("tracking", "warning", f"{found}, and {mlflow.__version__} here", mend)
    return Finding("tracking", "ok", found)


def check_dagster(home: Home) -> Finding:
    """Open Dagster's history, compare its tables with the release, and look for the daemon."""
    import dagster as dg

    os.environ["DAGSTER_HOME"] = str(dagster_folder(home))
    with dg.DagsterInstance.get() as instance:
        if old := _old_tables(instance):
            mend = "take a backup (`vitlens backup`), then `dagster instance migrate`"
            return Finding("dagster", "failed", f"tables of another release: {old}", mend)
        runs = instance.get_runs_count()
        last = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
    if not last:
        return Finding("dagster", "ok", f"{runs} runs; no daemon was started, so no schedule runs")
    age_s = time.time() - max(last)
    if age_s > _SILENT_S:
        found = f"{runs} runs; the daemon's last sign is {age_s / 60:.0f} min old"
        mend = "start `vitlens ui` or the daemon again: schedules and sensors rest meanwhile"
        return Finding("dagster", "warning", found, mend)
    return Finding("dagster", "ok", f"{runs} runs; the daemon is alive")


def check_notices(home: Home) -> Finding:
    """Read who is told of failures and champions, and their secrets; nothing is sent."""
    kinds = [receiver.kind for receiver in notify.receivers(home.root)]
    told = ", ".join(kinds) or "nobody is told of failed runs and new champions"
    return Finding("notices", "ok", told)


def _old_tables(instance: dg.DagsterInstance) -> str:
    """Name the tables that are not of this release."""
    storages = {"runs": instance.run_storage, "schedules": instance.schedule_storage}
    found = []
    for name, storage in storages.items():
        stated = storage.alembic_version() if storage else None
        if stated and stated[0] != stated[1]:
            found.append(f"{name} {stated[0]}, expected {stated[1]}")
    return ", ".join(found)

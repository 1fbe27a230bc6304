"""MLflow's accounts of a deployment's parts: runs can do all that they need, readers only read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient

from infra.config import accounts
from infra.local.stack import CONFIG
from tests.pipelines.registry.server import mlflow_server

pytestmark = pytest.mark.nightly
ADMIN = "a-password-of-the-admin"
READERS = [name for name in accounts.ACCOUNTS if name not in accounts.MANAGED]


class Echo(mlflow.pyfunc.PythonModel):
    def predict(
        self, context: object, model_input: list[str], params: dict[str, Any] | None = None
    ) -> list[str]:
        return model_input


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with the accounts, made twice: at every start of a deployment."""
    settings = (CONFIG / "basic_auth.ini").read_text()
    on_postgres = "postgresql+psycopg2://mlflow@/mlflow_auth"
    assert on_postgres in settings
    settings = settings.replace(on_postgres, f"sqlite:///{tmp_path}/accounts.db")
    (tmp_path / "accounts.ini").write_text(settings)
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(tmp_path / "accounts.ini"))
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", ADMIN)
    monkeypatch.setenv("MLFLOW_FLASK_SERVER_SECRET_KEY", "a-key-of-sessions")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    database = f"sqlite:///{tmp_path}/m.db"
    with mlflow_server(database, tmp_path / "files", "--app-name=basic-auth") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        become(monkeypatch, "admin", ADMIN)
        for _ in range(2):
            for name in accounts.ACCOUNTS:
                monkeypatch.setenv(f"PASSWORD_OF_{name.upper()}", password(name))
            accounts.main()
        yield address


def password(name: str) -> str:
    return f"a-password-of-{name}"


def become(monkeypatch: pytest.MonkeyPatch, name: str, secret: str | None = None) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secret or password(name))
    return MlflowClient()


def register(client: MlflowClient, experiment: str, model: str) -> str:
    """What a run does: figures, files, a version with its tags and aliases."""
    with mlflow.start_run(experiment_id=experiment):
        mlflow.log_metric("recall", 0.5)
        # Without a look for what it needs, which takes a minute.
        model_uri = mlflow.pyfunc.log_model(
            name="lens", python_model=Echo(), pip_requirements=[]
        ).model_uri
    version = mlflow.register_model(model_uri, model).version
    client.set_model_version_tag(model, version, "gates", "passed")
    client.set_registered_model_alias(model, "challenger", version)
    client.delete_registered_model_alias(model, "challenger")
    client.set_registered_model_alias(model, "champion", version)
    return version


def test_runs_do_all_they_need_readers_read_and_nobody_is_the_admin(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = become(monkeypatch, "admin", ADMIN)
    theirs = people.create_experiment("people")
    people.create_registered_model("vitlens-audio")
    runs = become(monkeypatch, "runs")
    own = runs.create_experiment("vitlens")
    runs.create_registered_model("vitlens-depth")
    register(runs, own, "vitlens-depth")
    register(runs, theirs, "vitlens-audio")
    for name in READERS:
        reader = become(monkeypatch, name)
        champion = "models:/vitlens-depth@champion"
        assert mlflow.pyfunc.load_model(champion).predict(["x"]) == ["x"]
        [run] = reader.search_runs([own])
        for forbidden in (
            partial(reader.set_registered_model_alias, "vitlens-depth", "champion", "1"),
            partial(reader.delete_registered_model_alias, "vitlens-depth", "champion"),
            partial(reader.log_metric, run.info.run_id, "recall", 1.0),
        ):
            with pytest.raises(MlflowException, match="403"):
                forbidden()
    for name in accounts.ACCOUNTS:
        other = become(monkeypatch, name)
        with pytest.raises(MlflowException, match="403"):
            other.list_webhooks()
        with pytest.raises(MlflowException, match="403"):
            accounts.make(AuthServiceClient(server), "mallory", "a-password-of-mallory")
    become(monkeypatch, "admin", ADMIN)
    accounts.make(AuthServiceClient(server), "runs", "another-password-of-runs")
    become(monkeypatch, "runs", "another-password-of-runs").search_experiments()

"""The upgrade path: databases of former releases, brought to this one with what they hold."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from alembic import command
from mlflow.store.db.utils import _get_alembic_config, _get_latest_schema_revision
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine

from infra.local.postgres import Postgres
from infra.local.processes import Processes, StackError
from infra.local.stack import CONFIG, HOST, free_ports
from pipelines.store.home import Home
from tests.conftest import ROOT
from workflows.doctor.services import check_dagster

pytestmark = pytest.mark.nightly
# Of MLflow 3.2, a year old: before webhooks and logged jobs; of Dagster's release before its last
# change of tables on Postgres.
MLFLOW_THEN, DAGSTER_THEN = "de4033877273", "6b7fb194ff9c"
PASSWORDS = {"dagster": "of-dagster", "mlflow": "of-mlflow"}


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="vl-"))
    folder.chmod(0o755)  # Postgres runs as another user than root
    server, processes = Postgres(folder / "postgres", free_ports()["postgres"]), Processes(folder)
    try:
        processes.start("postgres", server.command())
        server.create(PASSWORDS)
        yield server
    except StackError as error:
        pytest.skip(str(error))
    finally:
        processes.stop("postgres")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def variables(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, str]:
    """As compose and the cluster give them to the part `prepare`."""
    folder = Home(tmp_path).dagster()
    shutil.copy(CONFIG / "dagster.yaml", folder)
    given = {
        "VITLENS_HOME": str(tmp_path),
        "DAGSTER_HOME": str(folder),
        "DAGSTER_PG_HOST": HOST,
        "DAGSTER_PG_PORT": str(postgres.port),
        "DAGSTER_PG_PASSWORD": PASSWORDS["dagster"],
        "VITLENS_RAY_DASHBOARD": f"http://{HOST}:1",
        "PGPASSWORD": PASSWORDS["mlflow"],
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://mlflow@{HOST}:{postgres.port}/mlflow",
        "PYTHONPATH": str(ROOT),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given


def make_former_mlflow(address: str) -> None:
    engine = create_engine(address)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config = _get_alembic_config(address.replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, MLFLOW_THEN)
    engine.dispose()


def make_former_dagster(postgres: Postgres) -> str:
    """Make the tables, take back the last change of them, and return a run that they hold."""
    with dg.DagsterInstance.get() as instance:
        run = instance.create_run_for_job(_nothing)
    postgres.query(
        "ALTER TABLE concurrency_limits DROP COLUMN using_default_limit;"
        f"UPDATE alembic_version SET version_num = '{DAGSTER_THEN}'",
        "dagster",
    )
    return run.run_id


@dg.job
def _nothing() -> None:
    """A job without a step."""


def test_an_upgrade_brings_former_databases_to_this_release_with_what_they_hold(
    postgres: Postgres, variables: Mapping[str, str], tmp_path: Path
) -> None:
    address = variables["MLFLOW_BACKEND_STORE_URI"]
    make_former_mlflow(address)
    postgres.query(
        "INSERT INTO registered_models (name, creation_time) VALUES ('vitlens-depth', 1);"
        "INSERT INTO model_versions (name, version, source, current_stage)"
        " VALUES ('vitlens-depth', 1, 's3://mlflow/1', 'None');"
        "INSERT INTO registered_model_aliases (name, alias, version)"
        " VALUES ('vitlens-depth', 'champion', 1)",
        "mlflow",
    )
    run = make_former_dagster(postgres)
    before = check_dagster(Home(tmp_path))
    assert before.state == "failed"
    assert "dagster instance migrate" in before.mend
    release = "SELECT version_num FROM alembic_version"
    assert postgres.query(release, "mlflow") == MLFLOW_THEN

    migrate = "from infra.compose.prepare import migrate; migrate()"
    for _ in range(2):  # the second finds nothing to do, as every start does
        subprocess.run([sys.executable, "-c", migrate], env=os.environ, cwd=ROOT, check=True)

    assert check_dagster(Home(tmp_path)).state == "ok"
    assert postgres.query(release, "mlflow") == _get_latest_schema_revision()
    with dg.DagsterInstance.get() as instance:
        assert [each.run_id for each in instance.get_runs()] == [run]
    asked = (
        "import mlflow, sys; client = mlflow.MlflowClient(sys.argv[1]);"
        "print(client.get_model_version_by_alias('vitlens-depth', 'champion').version)"
    )
    done = subprocess.run([sys.executable, "-c", asked, address], capture_output=True, text=True)
    assert done.stdout.strip().splitlines()[-1] == "1", done.stderr

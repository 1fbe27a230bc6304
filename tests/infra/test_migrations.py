"""The upgrade path and the way back: databases of former releases, brought to this one with what
they hold; and backups of them, which bring the former release's tables back."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from difflib import unified_diff
from pathlib import Path

import dagster as dg
import pytest
from alembic import command
from click.testing import CliRunner, Result
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.db.utils import _get_alembic_config, _get_latest_schema_revision
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine

from infra.local.postgres import Postgres
from infra.local.processes import Processes, StackError
from infra.local.stack import CONFIG, HOST, free_ports
from pipelines.store.files import file_entry
from pipelines.store.home import Home
from pipelines.store.shards import encode_model
from tests.conftest import ROOT
from workflows.backups import postgres as postgres_client
from workflows.backups.contents import STATED, Backup
from workflows.cli import main
from workflows.doctor.services import check_dagster

pytestmark = pytest.mark.nightly
# Of MLflow 3.2, a year old: before webhooks and logged jobs; of Dagster's release before its last
# change of tables on Postgres.
MLFLOW_THEN, DAGSTER_THEN = "de4033877273", "6b7fb194ff9c"
_CASTS = re.compile(r"::(?:character varying|text)(?:\[\])?|[()]")
PASSWORDS = {"dagster": "of-dagster", "mlflow": "of-mlflow"}


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="vl-"))
    folder.chmod(0o755)  # Postgres runs as another user than root
    server, processes = Postgres(folder / "postgres", free_ports()["postgres"]), Processes(folder)
    try:
        start = server.command()
    except StackError as error:  # there is no Postgres here; whatever else goes wrong is a failure
        shutil.rmtree(folder)
        pytest.skip(str(error))
    try:
        processes.start("postgres", start)
        server.create(PASSWORDS)
        yield server
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


def register_champion(postgres: Postgres) -> None:
    postgres.query(
        "INSERT INTO registered_models (name, creation_time) VALUES ('vitlens-depth', 1);"
        "INSERT INTO model_versions (name, version, source, current_stage)"
        " VALUES ('vitlens-depth', 1, 's3://mlflow/1', 'None');"
        "INSERT INTO registered_model_aliases (name, alias, version)"
        " VALUES ('vitlens-depth', 'champion', 1)",
        "mlflow",
    )


def upgrade() -> None:
    """As the part `prepare` does it before all others."""
    migrate = "from infra.compose.prepare import migrate; migrate()"
    subprocess.run([sys.executable, "-c", migrate], env=os.environ, cwd=ROOT, check=True)


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
    register_champion(postgres)
    run = make_former_dagster(postgres)
    before = check_dagster(Home(tmp_path))
    assert before.state == "failed"
    assert "dagster instance migrate" in before.mend
    release = "SELECT version_num FROM alembic_version"
    assert postgres.query(release, "mlflow") == MLFLOW_THEN

    for _ in range(2):  # the second finds nothing to do, as every start does
        upgrade()

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


def url_of(postgres: Postgres, database: str) -> str:
    return f"postgresql://postgres@/{database}?host={postgres.folder}&port={postgres.port}"


def vitlens(
    postgres: Postgres, *arguments: str, databases: tuple[str, ...] = ("mlflow",)
) -> Result:
    """A command over databases of Postgres, as its superuser on its socket."""
    urls = [url_of(postgres, name) for name in databases]
    return CliRunner().invoke(main, [*arguments, *(p for url in urls for p in ("--database", url))])


def as_owner(postgres: Postgres, role: str, sql: str) -> str:
    """Ask as a role of a program, by its password, over TCP."""
    url = f"postgresql://{role}@{HOST}:{postgres.port}/{role}"
    done = subprocess.run(
        ["psql", "-qtAX", "-v", "ON_ERROR_STOP=1", "-d", url],
        input=sql,
        env=os.environ | {"PGPASSWORD": PASSWORDS[role]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def dumped(postgres: Postgres, database: str) -> list[str]:
    """All that a database holds, with owners and rights, as text."""
    where = ["-h", str(postgres.folder), "-p", str(postgres.port), "-U", "postgres"]
    done = subprocess.run(
        ["pg_dump", *where, "--create", database], capture_output=True, text=True, check=True
    )
    # The keys of newer clients are drawn anew at every dump; Postgres writes the casts of a check
    # elsewhere once it has read its own writing.
    return [
        _CASTS.sub("", line) if " CHECK (" in line else line
        for line in done.stdout.splitlines()
        if "restrict " not in line
    ]


def test_the_way_back_from_an_upgrade_brings_the_former_tables_as_they_were(
    postgres: Postgres, variables: Mapping[str, str], tmp_path: Path
) -> None:
    make_former_mlflow(variables["MLFLOW_BACKEND_STORE_URI"])
    register_champion(postgres)
    run = make_former_dagster(postgres)
    names = ("dagster", "mlflow")
    for name in names:
        postgres.query(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    # What an admin may have made beside the program's own tables.
    postgres.query(
        "CREATE EXTENSION pg_trgm; CREATE SCHEMA ours AUTHORIZATION mlflow;"
        "CREATE TABLE ours.notes (text text); INSERT INTO ours.notes VALUES ('kept');"
        "CREATE ROLE reader; GRANT SELECT ON registered_models TO reader;"
        "GRANT USAGE ON SCHEMA public TO reader; SELECT lo_create(4711)",
        "mlflow",
    )
    before = {name: dumped(postgres, name) for name in names}
    kept = str(tmp_path / "kept")
    backup = vitlens(postgres, "backup", kept, databases=names)
    assert backup.exit_code == 0, backup.output

    upgrade()
    postgres.query("CREATE SCHEMA since; CREATE TABLE since.more (a int)", "mlflow")
    postgres.query("UPDATE registered_models SET creation_time = 2", "mlflow")
    assert {name: dumped(postgres, name) for name in names} != before
    for _ in range(2):  # the second finds what the first left
        done = vitlens(postgres, "restore", backup.stdout.strip(), databases=names)
        assert done.exit_code == 0, done.output
        for name in names:
            differing = "\n".join(unified_diff(before[name], dumped(postgres, name), n=0))
            assert not differing, differing

    release = "SELECT version_num FROM alembic_version"
    assert as_owner(postgres, "mlflow", release) == MLFLOW_THEN
    assert as_owner(postgres, "dagster", release) == DAGSTER_THEN
    assert as_owner(postgres, "dagster", "SELECT run_id FROM runs") == run
    champion = "SELECT version FROM registered_model_aliases WHERE alias = 'champion'"
    assert as_owner(postgres, "mlflow", champion) == "1"
    as_owner(postgres, "mlflow", "INSERT INTO registered_models (name) VALUES ('vitlens-audio')")
    as_owner(postgres, "mlflow", "CREATE TABLE made (a int); DROP TABLE made")
    as_owner(postgres, "mlflow", "INSERT INTO experiments (name) VALUES ('of a sequence')")
    upgrade()  # and forth again
    assert as_owner(postgres, "mlflow", release) == _get_latest_schema_revision()


# What makes a restore fail, and what is said of it. The checksum is that of the damaged dump.
DAMAGES = {"cut": "pg_restore", "a role that is not there": "make the role mlflow first"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_restore_that_fails_leaves_what_was_there(
    postgres: Postgres, variables: Mapping[str, str], tmp_path: Path, damage: str
) -> None:
    postgres.query("CREATE TABLE a AS SELECT generate_series(1, 100000) AS n", "mlflow")
    as_owner(postgres, "mlflow", "CREATE TABLE owned (n int)")
    backup = Path(vitlens(postgres, "backup", str(tmp_path / "kept")).stdout.strip())
    if damage == "cut":
        cut(backup, "mlflow")
    else:
        postgres.query("CREATE ROLE other; REASSIGN OWNED BY mlflow TO other", "mlflow")
        for name in ("mlflow", "mlflow_auth"):
            postgres.query(f"ALTER DATABASE {name} OWNER TO other")
        postgres.query("DROP ROLE mlflow")
    postgres.query("CREATE TABLE b (n int); INSERT INTO b VALUES (7)", "mlflow")
    before = dumped(postgres, "mlflow")
    done = vitlens(postgres, "restore", str(backup))
    assert done.exit_code == 3
    assert DAMAGES[damage] in done.output
    assert dumped(postgres, "mlflow") == before


def cut(backup: Path, database: str) -> None:
    """Cut a dump in its data, and state the checksum of what is left."""
    path = backup / f"{database}.dump"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    stated = Backup.model_validate_json((backup / STATED).read_bytes())
    left = {name: file_entry(backup / f.name) for name, f in stated.databases.items()}
    changed = stated.model_copy(update={"databases": left})
    (backup / STATED).write_bytes(encode_model(changed))


KILLED = """
import os, signal, sys
from pathlib import Path
from workflows.backups import postgres
feed = postgres._feed

def to_the_end(dump, psql):
    feed(dump, psql)
    os.kill(os.getpid(), signal.SIGKILL)

postgres._feed = to_the_end
postgres.replace(sys.argv[1], Path(sys.argv[2]))
"""


def test_a_restore_that_is_killed_when_all_was_said_leaves_what_was_there(
    postgres: Postgres, variables: Mapping[str, str], tmp_path: Path
) -> None:
    """Every line has reached psql, and only the end of the transaction is missing."""
    postgres.query("CREATE TABLE n AS SELECT generate_series(1, 100000) AS n", "mlflow")
    backup = Path(vitlens(postgres, "backup", str(tmp_path / "kept")).stdout.strip())
    postgres.query("DELETE FROM n WHERE n > 7", "mlflow")
    before = dumped(postgres, "mlflow")
    command = [sys.executable, "-c", KILLED, url_of(postgres, "mlflow"), backup / "mlflow.dump"]
    done = subprocess.run(command, env=os.environ, cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert dumped(postgres, "mlflow") == before  # waits for psql, which holds the tables
    assert vitlens(postgres, "restore", str(backup)).exit_code == 0
    assert postgres.query("SELECT count(*) FROM n", "mlflow") == "100000"


def test_a_restore_of_two_databases_is_run_again_after_the_second_failed(
    postgres: Postgres, variables: Mapping[str, str], tmp_path: Path
) -> None:
    names = ("dagster", "mlflow")
    for name in names:
        large = "CREATE TABLE large AS SELECT generate_series(1, 100000) AS n"
        postgres.query(f"{large}; CREATE TABLE n AS SELECT 1 AS n", name)
    backup = vitlens(postgres, "backup", str(tmp_path / "kept"), databases=names).stdout.strip()
    damaged = shutil.copytree(backup, tmp_path / "damaged")
    cut(damaged, "mlflow")
    for name in names:
        postgres.query("UPDATE n SET n = 2", name)
    ask = "SELECT n FROM n"
    assert vitlens(postgres, "restore", str(damaged), databases=names).exit_code == 3
    assert [postgres.query(ask, name) for name in names] == ["1", "2"]
    assert vitlens(postgres, "restore", backup, databases=names).exit_code == 0
    assert [postgres.query(ask, name) for name in names] == ["1", "1"]


def test_a_database_that_programs_use_is_not_restored(
    postgres: Postgres,
    variables: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workflows.backups.postgres._CLOSE_S", 0.1)
    backup = vitlens(postgres, "backup", str(tmp_path / "kept")).stdout.strip()
    engine = create_engine(variables["MLFLOW_BACKEND_STORE_URI"])
    with engine.connect():
        done = vitlens(postgres, "restore", backup)
    assert done.exit_code == 3
    assert "mlflow is in use by 1 sessions" in done.output
    engine.dispose()
    assert vitlens(postgres, "restore", backup).exit_code == 0


def test_a_session_that_holds_a_table_is_not_waited_for_for_ever(
    postgres: Postgres,
    variables: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of another role than the programs', as an admin's."""
    emptied = postgres_client._EMPTY.replace(b"60s", b"200ms")
    monkeypatch.setattr("workflows.backups.postgres._EMPTY", emptied)
    postgres.query("CREATE TABLE n AS SELECT 1 AS n", "mlflow")
    backup = vitlens(postgres, "backup", str(tmp_path / "kept")).stdout.strip()
    engine = create_engine(url_of(postgres, "mlflow").replace("://", "+psycopg2://", 1))
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT n FROM n")
        done = vitlens(postgres, "restore", backup)
    engine.dispose()
    assert done.exit_code == 3
    assert "stop MLflow, Dagster and the exporter" in done.output
    assert vitlens(postgres, "restore", backup).exit_code == 0


def test_the_owner_of_a_database_restores_it_over_tcp(
    postgres: Postgres, variables: Mapping[str, str], tmp_path: Path
) -> None:
    """Without a superuser, as on a managed server."""
    as_owner(postgres, "mlflow", "CREATE TABLE n AS SELECT 1 AS n")
    before = dumped(postgres, "mlflow")
    url = f"postgresql://mlflow@{HOST}:{postgres.port}/mlflow"
    backup = CliRunner().invoke(main, ["backup", str(tmp_path / "kept"), "--database", url])
    assert backup.exit_code == 0, backup.output
    as_owner(postgres, "mlflow", "UPDATE n SET n = 2; CREATE TABLE since (a int)")
    for _ in range(2):
        restored = ["restore", backup.stdout.strip(), "--database", url]
        done = CliRunner().invoke(main, restored)
        assert done.exit_code == 0, done.output
        assert dumped(postgres, "mlflow") == before
    as_owner(postgres, "mlflow", "CREATE TABLE made (a int); DROP TABLE made")


# What a restore cannot do, and what is said of it.
FORBIDDEN = {
    "GRANT CREATE ON DATABASE mlflow TO dagster; SET ROLE dagster; CREATE SCHEMA theirs": (
        "must be owner of schema theirs",
        "name the database's owner or a superuser",
    ),
    "CREATE ROLE reader; GRANT SELECT ON n TO reader": (
        'role "reader" does not exist',
        "make the role reader first",
    ),
}


@pytest.mark.parametrize("made", FORBIDDEN)
def test_what_a_restore_may_not_do_is_found_before_files_and_keys_are_put_back(
    postgres: Postgres, variables: Mapping[str, str], tmp_path: Path, made: str
) -> None:
    as_owner(postgres, "mlflow", "CREATE TABLE n AS SELECT 1 AS n")
    postgres.query(made, "mlflow")
    model, key = tmp_path / "mlartifacts" / "model", tmp_path / "keys" / "signing.key"
    for path in (model, key):
        path.parent.mkdir(exist_ok=True)
        path.write_text("then")
    backup = vitlens(postgres, "backup", str(tmp_path / "kept"))
    assert backup.exit_code == 0, backup.output
    for path in (model, key):
        path.write_text("now")
    if "reader" in made:
        postgres.query("DROP OWNED BY reader; DROP ROLE reader", "mlflow")
    before = dumped(postgres, "mlflow")
    url = f"postgresql://mlflow@{HOST}:{postgres.port}/mlflow"
    restored = ["restore", backup.stdout.strip(), "--database", url]
    done = CliRunner().invoke(main, restored)
    assert done.exit_code == 3
    for said in FORBIDDEN[made]:
        assert said in done.output
    assert [path.read_text() for path in (model, key)] == ["now", "now"]
    assert dumped(postgres, "mlflow") == before


def test_a_client_of_a_later_release_brings_a_database_back_to_an_older_server(
    postgres: Postgres,
    variables: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From release 17 on it sets what servers up to 16 do not know."""
    postgres.query("CREATE TABLE n AS SELECT 1 AS n", "mlflow")
    postgres.query("CREATE TABLE said AS SELECT 'SET transaction_timeout = 0;' AS line", "mlflow")
    before = dumped(postgres, "mlflow")
    later = tmp_path / "later" / "pg_restore"
    later.parent.mkdir()
    knows = postgres.query("SELECT count(*) FROM pg_settings WHERE name = 'transaction_timeout'")
    unknown = "no_setting_of_any_release" if int(knows) else "transaction_timeout"
    later.write_text(
        "#!/bin/bash\nset -o pipefail\n"
        f'{shutil.which("pg_restore")} "$@" |'
        f" sed '0,/^SET lock_timeout = 0;$/s//&\\nSET {unknown} = 0;/'\n"
    )
    later.chmod(0o755)
    monkeypatch.setenv("PATH", str(later.parent), prepend=os.pathsep)
    if unknown != "transaction_timeout":
        line = f"SET {unknown} = 0;\n".encode()
        monkeypatch.setattr("workflows.backups.postgres._UNKNOWN", line)
    backup = vitlens(postgres, "backup", str(tmp_path / "kept")).stdout.strip()
    stream = subprocess.run(
        ["pg_restore", "--file=-", f"{backup}/mlflow.dump"], capture_output=True, check=True
    ).stdout
    assert f"\nSET {unknown} = 0;\n".encode() in stream  # else this would test nothing
    postgres.query("UPDATE n SET n = 2; DROP TABLE said", "mlflow")
    done = vitlens(postgres, "restore", backup)
    assert done.exit_code == 0, done.output
    assert dumped(postgres, "mlflow") == before


def test_accounts_are_those_of_the_backup_with_their_passwords_then(
    postgres: Postgres, variables: Mapping[str, str], tmp_path: Path
) -> None:
    accounts = SqlAlchemyStore()
    accounts.init_db(f"postgresql+psycopg2://mlflow@{HOST}:{postgres.port}/mlflow_auth")
    accounts.create_user("alice", "alice-as-she-was", is_admin=True)
    auth = ("mlflow_auth",)
    backup = vitlens(postgres, "backup", str(tmp_path / "kept"), databases=auth).stdout.strip()
    accounts.update_user("alice", password="alice-since-then", is_admin=False)
    accounts.create_user("bob", "bob-came-since")
    accounts.engine.dispose()  # as MLflow that is stopped
    done = vitlens(postgres, "restore", backup, databases=auth)
    assert done.exit_code == 0, done.output
    assert accounts.authenticate_user("alice", "alice-as-she-was")
    assert not accounts.authenticate_user("alice", "alice-since-then")
    assert accounts.get_user("alice").is_admin
    assert not accounts.has_user("bob")
    accounts.create_user("carol", "carol-comes-after")  # as the role `mlflow`
    accounts.engine.dispose()

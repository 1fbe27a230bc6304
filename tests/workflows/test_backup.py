"""Backups: what comes back is the registry that was there."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import tracemalloc
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipelines.registry import models, promotion, signing
from pipelines.store.home import Home
from tests.conftest import ROOT
from tests.pipelines.registered import NAME, register
from vitlens_core.errors import ConfigError, StorageError, VitlensError
from workflows.backups import postgres, sqlite
from workflows.backups.contents import STATED, Backup
from workflows.backups.guards import alone
from workflows.backups.making import back_up
from workflows.backups.places import Places
from workflows.backups.restoring import restore
from workflows.cli import main


@pytest.fixture(autouse=True)
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(home))


def vitlens(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.slow
def test_a_restored_home_has_the_same_registry_and_its_models_load(
    home: Path, tmp_path: Path
) -> None:
    first = register(home)
    promotion.promote(home, NAME, first.version, "it works")
    before, history = models.versions(home, "point_cloud"), promotion.history(home, NAME)
    weights = next(models.download(f"models:/{NAME}@champion", home).rglob("*.safetensors"))
    content = weights.read_bytes()
    done = vitlens("backup", str(tmp_path / "kept"))
    assert done.exit_code == 0, done.output
    backup = done.stdout.strip()

    second = register(home, right=1.0)
    promotion.promote(home, NAME, second.version, "and this too")
    shutil.rmtree(home / "mlartifacts")
    done = vitlens("restore", backup)
    assert done.exit_code == 0, done.output
    assert models.versions(home, "point_cloud") == before
    assert promotion.history(home, NAME) == history
    assert weights.read_bytes() == content


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_backup_changes_nothing(home: Path, tmp_path: Path, damage: str) -> None:
    register(home)
    backup = Path(vitlens("backup", str(tmp_path / "kept")).stdout.strip())
    victim = next(path for path in (backup / "files").rglob("*.safetensors"))
    victim.write_bytes(victim.read_bytes()[:-1]) if damage == "cut" else victim.unlink()
    second = register(home, right=1.0)
    done = vitlens("restore", str(backup))
    assert done.exit_code == 3
    assert victim.name in done.output
    assert models.versions(home, "point_cloud")[0].version == second.version


@pytest.mark.parametrize("given", [(), ("--files", "models"), ("--no-keys",)])
def test_a_home_without_a_database_makes_no_backup_and_removes_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...]
) -> None:
    """As from another folder, with the default home; `--keep` would remove the good ones."""
    kept = tmp_path / "kept"
    good = Path(vitlens("backup", str(kept)).stdout.strip())
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "models").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("VITLENS_HOME")
    done = vitlens("backup", str(kept), "--keep", "1", *given)
    assert done.exit_code == 2
    assert str(elsewhere / ".vitlens") in done.output
    assert "VITLENS_HOME" in done.output
    assert [path.name for path in sorted(kept.iterdir())] == [".lock", good.name]
    assert [path.name for path in elsewhere.iterdir()] == ["models"]


def test_a_script_reads_the_folder_and_a_person_what_it_holds(home: Path, tmp_path: Path) -> None:
    signing.public_key(home)
    model = home / "mlartifacts" / "1" / "model"
    model.parent.mkdir(parents=True)
    model.write_bytes(bytes(3_000_000))
    done = vitlens("backup", str(tmp_path / "kept"))
    [line] = done.stdout.splitlines()
    stated = Backup.model_validate_json(Path(line, STATED).read_bytes())
    assert f"{stated.size_bytes / 1e6:,.1f} MB" in done.stderr
    for held in ("databases: 1", "files of models: 1", "keys and notices: 1"):
        assert held in done.stderr


def test_an_unfinished_backup_is_refused(tmp_path: Path) -> None:
    done = vitlens("restore", str(tmp_path))
    assert done.exit_code == 2
    assert "no finished backup" in done.output


def test_files_of_a_backup_are_this_users_alone(home: Path, tmp_path: Path) -> None:
    register(home)
    kept = tmp_path / "kept"
    backup = Path(vitlens("backup", str(kept)).stdout.strip())
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700
    found = [path for path in kept.rglob("*") if path.is_file()]
    assert any(path.suffix == ".safetensors" for path in found)
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def test_on_a_new_machine_what_the_former_signed_is_trusted(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = signing.sign(home, {"gate": "passed"})
    (home / "notices.yaml").write_text("[]")
    backup = vitlens("backup", str(tmp_path / "kept")).stdout.strip()
    new = tmp_path / "new"
    monkeypatch.setenv("VITLENS_HOME", str(new))
    done = vitlens("restore", backup)
    assert done.exit_code == 0, done.output
    assert signing.distrust(new, signature, {"gate": "passed"}) == ""
    assert (new / "notices.yaml").read_text() == "[]"


def test_keys_that_restores_replace_are_all_kept_beside_and_not_backed_up(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = signing.public_key(home)
    backup = vitlens("backup", str(tmp_path)).stdout.strip()
    key = home / "keys" / "signing.key"
    texts = set()
    for _ in range(3):
        key.unlink()
        other, text = signing.public_key(home), key.read_text()
        assert vitlens("restore", backup, "--no-keys").exit_code == 0
        assert signing.public_key(home) == other
        for _ in range(2):  # the second time nothing differs
            assert vitlens("restore", backup).exit_code == 0
        assert signing.public_key(home) == first
        texts.add(text)
        formers = list(key.parent.glob("signing.key.*.former"))
        assert {former.read_text() for former in formers} == texts
        assert {stat.S_IMODE(former.stat().st_mode) for former in formers} == {0o600}
        assert all(f"kept as {former.name}" in caplog.text for former in formers)
    assert len(formers) == len(texts) == 3
    again = Path(vitlens("backup", str(tmp_path)).stdout.strip())
    assert [path.name for path in (again / "home" / "keys").iterdir()] == ["signing.key"]


def test_without_keys_a_backup_holds_no_secret_of_the_home(home: Path, tmp_path: Path) -> None:
    signing.public_key(home)
    (home / "notices.yaml").write_text("[]")
    backup = Path(vitlens("backup", str(tmp_path), "--no-keys").stdout.strip())
    assert not (backup / "home").exists()
    assert vitlens("restore", str(backup)).exit_code == 0


def test_only_databases_of_mlflow_and_dagster_are_taken(home: Path, tmp_path: Path) -> None:
    """A data set may hold a `.db` that is none of SQLite's, and a store millions of files."""
    (home / "generated").mkdir()
    (home / "generated" / "thumbs.db").write_text("no database")
    history = home / "dagster" / "history" / "runs"
    history.mkdir(parents=True)
    shutil.copy(home / "mlflow.db", history / "index.db")
    backup = Path(vitlens("backup", str(tmp_path)).stdout.strip())
    stated = Backup.model_validate_json((backup / STATED).read_bytes())
    assert set(stated.databases) == {"mlflow.db", "dagster/history/runs/index.db"}


def test_a_damaged_database_is_not_backed_up(home: Path, tmp_path: Path) -> None:
    """Else `--keep` would remove the last good ones."""
    good = Path(vitlens("backup", str(tmp_path), "--keep", "1").stdout.strip())
    (home / "mlflow.db").write_text("x" * 8192)
    done = vitlens("backup", str(tmp_path), "--keep", "1")
    assert done.exit_code == 3
    assert "mlflow.db cannot be copied" in done.output
    assert [path for path in tmp_path.iterdir() if path.name[0] == "2"] == [good]


def test_a_damaged_database_is_restored(home: Path, tmp_path: Path) -> None:
    model = register(home)
    backup = vitlens("backup", str(tmp_path)).stdout.strip()
    (home / "mlflow.db").write_text("x" * 8192)
    (home / "mlflow.db-journal").write_text("of the damaged one")
    done = vitlens("restore", backup)
    assert done.exit_code == 0, done.output
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        found = database.execute("SELECT version FROM model_versions WHERE name = ?", [NAME])
        assert found.fetchall() == [(model.version,)]


def test_a_database_that_is_written_to_is_not_restored(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.backups.sqlite._BUSY_S", 0.1)
    backup = vitlens("backup", str(tmp_path)).stdout.strip()
    with closing(sqlite3.connect(home / "mlflow.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        done = vitlens("restore", backup)
    assert done.exit_code == 3
    assert "stop MLflow and Dagster" in done.output


# What SQLite says of a database, and what we say beside it.
FAULTS = {
    sqlite3.SQLITE_BUSY: (VitlensError, "stop MLflow and Dagster"),
    sqlite3.SQLITE_LOCKED: (VitlensError, "stop MLflow and Dagster"),
    sqlite3.SQLITE_FULL: (StorageError, "free some space"),
    sqlite3.SQLITE_READONLY_DIRECTORY: (StorageError, "let this user write it"),
    sqlite3.SQLITE_CANTOPEN: (StorageError, "let this user read and write it and its folder"),
    sqlite3.SQLITE_IOERR_WRITE: (StorageError, "check the disk"),
    sqlite3.SQLITE_CORRUPT: (VitlensError, "it says this"),
}


@pytest.mark.parametrize("code", FAULTS)
def test_each_fault_of_a_database_has_its_own_advice(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fails(*_: object) -> None:
        error = sqlite3.OperationalError("it says this")
        error.sqlite_errorcode = code
        raise error

    sqlite.dump(home / "mlflow.db", tmp_path / "dump")
    monkeypatch.setattr(sqlite, "_transfer", fails)
    kind, advice = FAULTS[code]
    for call in (sqlite.dump, sqlite.replace):
        with pytest.raises(VitlensError, match="it says this") as raised:
            call(home / "mlflow.db", tmp_path / "dump")
        assert type(raised.value) is kind
        assert advice in str(raised.value)
        assert ("stop MLflow" in str(raised.value)) is ("stop MLflow" in advice)


def test_a_full_disk_is_named_as_one(tmp_path: Path) -> None:
    """By SQLite itself, whose file may not grow."""
    with closing(sqlite3.connect(tmp_path / "small.db")) as database:
        database.execute("PRAGMA max_page_count = 4")
        with pytest.raises(sqlite3.OperationalError) as raised:
            database.execute("CREATE TABLE large AS SELECT zeroblob(1000000)")
    error = sqlite._named("it", raised.value)
    assert isinstance(error, StorageError)


def test_a_backup_that_another_user_keeps_to_himself_is_an_error_of_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(StorageError, match="let this user read"):
        restore(Places(Home(tmp_path / "home")), tmp_path)


def test_a_backup_of_postgres_is_not_put_into_the_home(home: Path, tmp_path: Path) -> None:
    backup = Path(vitlens("backup", str(tmp_path)).stdout.strip())
    stated = (backup / STATED).read_text()
    (backup / STATED).write_text(stated.replace('"mlflow.db"', '"mlflow"'))
    done = vitlens("restore", str(backup))
    assert done.exit_code == 2
    assert "--database" in done.output
    assert not (home / "mlflow").exists()


# What is there already, and whether `--keep 2` leaves it; the new one is the second that stays.
BESIDE = {
    "20200101-000000": False,
    "20210101-000000": False,
    "20220101-000000": True,
    "20200101-000001.unfinished": False,
    "20200101-000002": True,  # without backup.json: not ours
    "20200101-000003-mine": True,
    "20200101-000000.unfinished.txt": True,
    "holiday": True,
}


def test_as_many_are_kept_as_asked_and_nothing_else_is_touched(home: Path, tmp_path: Path) -> None:
    for name in BESIDE:
        (tmp_path / "kept" / name).mkdir(parents=True)
        if name != "20200101-000002":
            (tmp_path / "kept" / name / STATED).write_text("{}")
    link = tmp_path / "kept" / "20200101-000009"
    link.symlink_to(tmp_path / "kept" / "holiday")
    done = vitlens("backup", str(tmp_path / "kept"), "--keep", "2")
    assert done.exit_code == 0, done.output
    left = {path.name for path in (tmp_path / "kept").iterdir()}
    expected = {name for name, stays in BESIDE.items() if stays}
    assert left == expected | {Path(done.stdout.strip()).name, ".lock", link.name}


@pytest.mark.slow
def test_without_being_asked_none_is_removed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "20200101-000000.unfinished").mkdir()
    made = {vitlens("backup", str(tmp_path)).stdout.strip() for _ in range(3)}
    assert len(made) == 3
    assert (tmp_path / "20200101-000000.unfinished").exists()


def test_one_backup_at_a_time_is_made_in_a_folder(home: Path, tmp_path: Path) -> None:
    """Else one would remove what the other is making, or what a restore reads."""
    backup = vitlens("backup", str(tmp_path)).stdout.strip()
    with alone(tmp_path):
        for command in (("backup", str(tmp_path), "--keep", "1"), ("restore", backup)):
            done = vitlens(*command)
            assert done.exit_code == 3
            assert "at work" in done.output


@pytest.mark.parametrize("name", [".", "../link", "files/.."])
def test_a_backup_named_in_another_way_has_the_same_lock(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (home / "mlartifacts").mkdir(exist_ok=True)
    (home / "mlartifacts" / "model").write_text("x")
    backup = Path(vitlens("backup", str(tmp_path / "kept")).stdout.strip())
    (tmp_path / "kept" / "link").symlink_to(backup)
    monkeypatch.chdir(backup)
    with alone(tmp_path / "kept"):
        done = vitlens("restore", name)
    assert done.exit_code == 3
    assert "at work" in done.output
    assert vitlens("restore", name).exit_code == 0


def killed(home: Path, code: str) -> None:
    """Run code that ends in a SIGKILL, as a node that goes away."""
    kill = "import os, signal; kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    script = "\n".join([kill, textwrap.dedent(code), "main()"])
    environment = os.environ | {"VITLENS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_backup_that_is_killed_leaves_none_and_the_next_removes_it(
    home: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    killed(
        home,
        f"""
        from pathlib import Path
        from pipelines.store.home import Home
        from workflows.backups import making, places
        making.write_atomic = kill  # between the dumps and backup.json
        def main():
            making.back_up(places.Places(Home.from_environment()), Path("{kept}"))
        """,
    )
    [left] = [path for path in kept.iterdir() if path.is_dir()]
    assert list(left.glob("*.sqlite"))
    assert vitlens("restore", str(left)).exit_code == 2
    done = vitlens("backup", str(kept), "--keep", "3")
    assert done.exit_code == 0, done.output
    assert not left.exists()


def test_a_restore_that_is_killed_between_two_databases_is_run_again(
    home: Path, tmp_path: Path
) -> None:
    names = ("mlflow.db", "dagster/history/runs.db")
    (home / "dagster" / "history").mkdir(parents=True)
    for name in names:
        put_number(home / name, 1)
    backup = vitlens("backup", str(tmp_path / "kept")).stdout.strip()
    for name in names:
        put_number(home / name, 2)
    killed(
        home,
        f"""
        from pathlib import Path
        from pipelines.store.home import Home
        from workflows.backups import places, restoring, sqlite
        replace = sqlite.replace
        def once(path, dumped):
            sqlite.replace = kill
            replace(path, dumped)
        sqlite.replace = once
        def main():
            restoring.restore(places.Places(Home.from_environment()), Path("{backup}"))
        """,
    )
    assert {number_in(home / name) for name in names} == {1, 2}
    assert vitlens("restore", backup).exit_code == 0
    assert [number_in(home / name) for name in names] == [1, 1]


def test_a_database_is_replaced_whole_or_not_at_all(home: Path, tmp_path: Path) -> None:
    """Killed in the middle of the database itself."""
    put_number(home / "mlflow.db", 1)
    backup = vitlens("backup", str(tmp_path / "kept")).stdout.strip()
    put_number(home / "mlflow.db", 2)
    killed(
        home,
        f"""
        import sqlite3
        from pathlib import Path
        from pipelines.store.home import Home
        from workflows.backups import places, restoring, sqlite
        def by_pages(source, target):
            source.backup(target, pages=4, progress=lambda _, left, total: kill())
        sqlite._transfer = by_pages
        def main():
            restoring.restore(places.Places(Home.from_environment()), Path("{backup}"))
        """,
    )
    assert number_in(home / "mlflow.db") == 2
    assert vitlens("restore", backup).exit_code == 0
    assert number_in(home / "mlflow.db") == 1


def put_number(path: Path, number: int) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS numbers (number)")
        database.execute("DELETE FROM numbers")
        database.execute("INSERT INTO numbers VALUES (?)", [number])


def number_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        [(number,)] = database.execute("SELECT number FROM numbers").fetchall()
    return number


def test_large_files_do_not_lie_in_memory(home: Path, tmp_path: Path) -> None:
    large = home / "mlartifacts" / "large"
    large.parent.mkdir(exist_ok=True)
    with large.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        made, _ = back_up(Places(Home(home)), tmp_path / "kept")
        restore(Places(Home(home)), made)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 << 20


SECRET = "the-password-itself"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"postgresql://mlflow:{SECRET}@host/mlflow", "PGPASSWORD"),
        (f"postgresql://host/mlflow?user=mlflow&password={SECRET}", "PGPASSWORD"),
        (f"postgresql://host/mlflow?sslpassword={SECRET}", "PGPASSWORD"),
        (f"mysql://mlflow:{SECRET}@host/mlflow", "postgresql://"),
        (f"postgresql://mlflow:{SECRET}@host", "postgresql://"),
        (f"postgresql://mlflow:{SECRET}@[host/mlflow", "postgresql://"),
        (f"postgresql://mlflow:{SECRET}@host/a/../../b", "postgresql://"),
        ("mysql://host/mlflow", "postgresql://"),
        ("postgresql://host", "postgresql://"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_no_secret_is_shown(
    tmp_path: Path, url: str, why: str
) -> None:
    for command in ("backup", "restore"):
        done = vitlens(command, str(tmp_path), "--database", url)
        assert done.exit_code == 2
        assert why in done.output
        assert SECRET not in done.output


def test_two_databases_of_one_name_are_refused(tmp_path: Path) -> None:
    """One dump would take the other's place."""
    given = ["--database", "postgresql://one/mlflow", "--database", "postgresql://two/mlflow"]
    done = vitlens("backup", str(tmp_path), *given)
    assert done.exit_code == 2
    assert "the same name" in done.output


def test_a_database_that_is_away_is_named_by_its_client(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:9/mlflow"
    done = vitlens("backup", str(tmp_path), "--database", url)
    assert done.exit_code in {2, 3}  # without the client of Postgres it is a mistake
    assert "psql" in done.output
    assert not list(tmp_path.rglob("backup.json"))


# What Postgres' client says, and what is said beside it.
COMPLAINTS = {
    "pg_dump: error: aborting because of server version mismatch\n"
    "pg_dump: detail: server version: 16.4 (Debian 16.4-1); pg_dump version: 15.18": (
        "postgresql-client-16"
    ),
    "pg_dump: error: connection to server failed: fe_sendauth: no password supplied": "PGPASSWORD",
    "pg_restore: error: unsupported version (1.16) in file header": "a newer client",
}


@pytest.mark.parametrize("complaint", COMPLAINTS)
def test_what_is_to_be_done_stands_beside_the_clients_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complaint: str
) -> None:
    """By a client that writes down its arguments, and whether it has the password."""
    (tmp_path / "complaint").write_text(complaint)
    pretend(tmp_path / "bin", monkeypatch, "psql", "echo 150018")
    pretend(
        tmp_path / "bin",
        monkeypatch,
        "pg_dump",
        f'echo "$@" >{tmp_path}/arguments\n'
        f'[ "$PGPASSWORD" = {SECRET} ] || exit 9\ncat {tmp_path}/complaint >&2\nexit 1',
    )
    monkeypatch.setenv("PGPASSWORD", SECRET)
    done = vitlens("backup", str(tmp_path / "kept"), "--database", "postgresql://u@host/mlflow")
    assert done.exit_code == 3
    assert complaint.splitlines()[0] in done.output
    assert COMPLAINTS[complaint] in done.output
    arguments = (tmp_path / "arguments").read_text()
    assert "postgresql://u@host/mlflow" in arguments
    assert SECRET not in arguments + done.output
    assert not [path for path in (tmp_path / "kept").iterdir() if path.is_dir()]


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """Put a program before the client's own on the PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_a_server_that_is_too_old_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its backup could not be restored."""
    pretend(tmp_path / "bin", monkeypatch, "psql", "echo 140012")
    url = "postgresql://u@host/mlflow"
    done = vitlens("backup", str(tmp_path / "kept"), "--database", url)
    assert done.exit_code == 2
    assert "mlflow is on Postgres 14" in done.output
    assert "15 or later" in done.output
    assert not [path for path in (tmp_path / "kept").iterdir() if path.is_dir()]
    with pytest.raises(ConfigError, match="15 or later"):
        postgres.ready(url, tmp_path)


def test_only_the_line_that_older_servers_do_not_know_is_left_out_of_a_dump() -> None:
    """In the head alone: a row of a table may read the same."""
    head = b"--\n-- a dump\n--\n\n\\restrict abc\n\nSET lock_timeout = 0;\n"
    line = b"SET transaction_timeout = 0;\n"
    rest = b"SET row_security = off;\nSELECT 1;\nCOPY t FROM stdin;\n" + line + b"no end"
    for dump in (head + line + rest, head + rest, line + rest, b"", line):
        fed = BytesIO()
        postgres._feed(BytesIO(dump), fed)
        whole = dump.removesuffix(rest).replace(line, b"")
        assert fed.getvalue() == whole + (rest if dump.endswith(rest) else b"")

"""doctor: a healthy set-up passes; each broken one is named, with what mends it."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.local.stack import CONFIG
from pipelines.registry import models
from pipelines.store.home import Home
from tests.pipelines.registry.server import mlflow_server
from workflows.cli import main
from workflows.commands.doctor import command
from workflows.doctor import machine, services
from workflows.doctor.checks import CHECKS, run_checks
from workflows.doctor.finding import Finding
from workflows.environment import dagster_folder

OURS = (
    "RAY_ADDRESS",
    "VITLENS_RAY_DASHBOARD",
    "MLFLOW_TRACKING_URI",
    "VITLENS_STORE",
    "AWS_ENDPOINT_URL",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
    "MLFLOW_HTTP_REQUEST_TIMEOUT",
)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DAGSTER_HOME", "")  # set by the check itself; undone with the test
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path / "home"))
    return Home.from_environment()


def nobody() -> str:
    """An address of this machine at which nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def only(name: str) -> Callable[[Home], Finding]:
    """A check as it is carried out among the others."""
    return lambda home: run_checks(home, {name: CHECKS[name]})[0]


def test_a_healthy_set_up_passes_every_check(own_home: Home) -> None:
    done = CliRunner().invoke(command, ["--json"])
    found = json.loads(done.stdout)
    assert [each["check"] for each in found] == list(CHECKS)
    # A sandbox without Landlock and a disk that is nearly full are this machine's own.
    may_warn = {"sandbox", "space"}
    assert {each["check"] for each in found if each["state"] != "ok"} <= may_warn, found
    assert done.exit_code == 0


def no_store(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    home.root.mkdir()
    (home.root / "artifacts").write_text("a file where the store's folder should be")


def store_is_away(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    monkeypatch.setenv("VITLENS_STORE", "s3://vitlens/artifacts")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{nobody()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "vitlens")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-key-that-nobody-may-see")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


def tracking_is_away(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:a-password@{nobody()}")


def ray_is_away(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    monkeypatch.setenv("RAY_ADDRESS", nobody())


def no_jobs(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    monkeypatch.setenv("VITLENS_RAY_DASHBOARD", f"http://{nobody()}")


def no_opengl(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_DIRS", str(home.root))
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_FILENAMES", str(home.root / "none.json"))


def dagster_is_older(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    assert services.check_dagster(home).state == "ok"  # makes the tables
    with sqlite3.connect(dagster_folder(home) / "history" / "runs.db") as tables:
        tables.execute("UPDATE alembic_version SET version_num = '7f2b1a4ca7a5'")


def dagster_is_away(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    host, _, port = nobody().partition(":")
    where = f"{{hostname: {host}, port: {port}, username: u, password: a-password, db_name: d"
    settings = f"storage: {{postgres: {{postgres_db: {where}, scheme: postgresql+psycopg2}}}}}}\n"
    (home.dagster() / "dagster.yaml").write_text(settings)


BROKEN = {
    "a file where the store should be": ("store", no_store, "store"),
    "the object store is away": ("store", store_is_away, "store"),
    "the tracking server is away": ("tracking", tracking_is_away, "start it"),
    "the cluster is away": ("ray", ray_is_away, "unset RAY_ADDRESS"),
    "the cluster that runs are submitted to is away": ("ray", no_jobs, "VITLENS_RAY_DASHBOARD"),
    "no OpenGL": ("gl", no_opengl, "libegl1"),
    "tables of an older Dagster": ("dagster", dagster_is_older, "dagster instance migrate"),
    "Dagster's database is away": ("dagster", dagster_is_away, "dagster.yaml"),
}


@pytest.mark.parametrize(("name", "breaks", "mends"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_named_and_how_it_is_mended(
    own_home: Home,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    breaks: Callable[[pytest.MonkeyPatch, Home], None],
    mends: str,
) -> None:
    breaks(monkeypatch, own_home)
    finding = only(name)(own_home)
    assert finding.state == "failed", finding
    assert mends in f"{finding.found} {finding.mend}"
    assert "a-password" not in finding.found
    assert "a-key" not in finding.found


def test_a_missing_and_an_old_package_are_both_named(own_home: Home) -> None:
    def installed(name: str) -> str:
        if name == "mlflow":
            raise metadata.PackageNotFoundError(name)
        return "1.0" if name == "ray" else metadata.version(name)

    finding = machine.check_versions(own_home, installed)
    assert finding.state == "failed"
    assert "mlflow is missing" in finding.found
    assert "ray is 1.0" in finding.found
    assert "pip install" in finding.mend


@pytest.mark.parametrize(
    ("least_gb", "enough_gb", "state"), [(1e9, 1e9, "failed"), (0, 1e9, "warning")]
)
def test_a_full_disk_is_told_before_a_run_fills_it(
    own_home: Home, least_gb: float, enough_gb: float, state: str
) -> None:
    finding = machine.check_space(own_home, least_gb, enough_gb)
    assert finding.state == state
    assert "vitlens gc" in finding.mend


def test_a_registry_that_exists_is_asked(own_home: Home) -> None:
    models.connect(own_home.root)
    finding = services.check_tracking(own_home)
    assert finding.state == "ok"
    assert "made by the first run" not in finding.found


def test_a_daemon_that_fell_silent_is_a_warning(own_home: Home) -> None:
    assert services.check_dagster(own_home).state == "ok"
    beat = (
        "INSERT INTO daemon_heartbeats (daemon_type, daemon_id, timestamp, body) VALUES "
        "('SCHEDULER', 'x', '2026-01-01', "
        '\'{"__class__": "DaemonHeartbeat", "daemon_id": "x", "daemon_type": "SCHEDULER", '
        '"errors": [], "timestamp": 1767225600.0}\')'
    )
    with sqlite3.connect(dagster_folder(own_home) / "history" / "runs.db") as tables:
        tables.execute(beat)
    finding = services.check_dagster(own_home)
    assert finding.state == "warning"
    assert "vitlens ui" in finding.mend


def test_a_check_that_hangs_or_breaks_holds_up_no_other(own_home: Home) -> None:
    released = threading.Event()

    def hangs(home: Home) -> Finding:
        released.wait(60)
        return Finding("hangs", "ok", "late")

    def breaks(home: Home) -> Finding:
        raise RuntimeError("of https://user:a-password@example.com/")

    def works(home: Home) -> Finding:
        return Finding("works", "ok", "fine")

    table = {"hangs": (hangs, "a"), "breaks": (breaks, "mend it"), "works": (works, "")}
    found = run_checks(own_home, table, limit_s=1)
    released.set()
    assert [each.state for each in found] == ["failed", "failed", "ok"]
    assert "no answer" in found[0].found
    assert found[1].mend == "mend it"
    assert "a-password" not in found[1].found


def test_a_failed_check_is_the_exit_code_3(own_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    no_store(monkeypatch, own_home)
    monkeypatch.setenv("RAY_ADDRESS", nobody())  # so that no Ray is started for it
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 3
    assert "store     failed" in done.output


@pytest.mark.nightly
def test_a_server_with_accounts_is_asked_with_this_users_own(
    own_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = (CONFIG / "basic_auth.ini").read_text()
    accounts = accounts.replace(
        "postgresql+psycopg2://mlflow@/mlflow_auth", f"sqlite:///{tmp_path}/a.db"
    )
    (tmp_path / "accounts.ini").write_text(accounts)
    for name, value in {
        "MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "accounts.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": "a-password-of-the-admin",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key-of-sessions",
        "MLFLOW_TRACKING_USERNAME": "admin",
    }.items():
        monkeypatch.setenv(name, value)
    database = f"sqlite:///{tmp_path}/m.db"
    with mlflow_server(database, tmp_path / "files", "--app-name=basic-auth") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        found = []
        for password in ("a-password-of-the-admin", "a-password-that-is-wrong"):
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
            found.append(services.check_tracking(own_home))
    assert [each.state for each in found] == ["ok", "failed"]
    assert metadata.version("mlflow") in found[0].found
    assert "MLFLOW_TRACKING_PASSWORD" in found[1].mend
    assert not any("a-password" in each.found for each in found)

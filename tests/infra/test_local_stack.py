"""The whole stack on loopback: a schedule's run goes through faults to a champion.

Postgres, an S3 server, MLflow with accounts, Ray of three nodes with a token, Dagster's code
server, page and daemon, the exporter and Prometheus: processes of their own, as on a team's server.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from infra.local.dashboard import draw
from infra.local.debian import MissingError, program
from infra.local.processes import StackError
from infra.local.stack import Stack, free_ports
from tests.conftest import ROOT
from tests.infra.test_monitoring import _NAME, queries
from tests.workflows.test_daemon import SCHEDULE, smallest

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1500)]
DEADLINE_S = 900
AWAY_S = 30.0
NEEDS_A_GPU = {"ray_node_gpus_utilization"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, tiny_lit: str) -> Iterator[Stack]:
    """The stack with the workflow of thermal pictures at its smallest, its work on Ray."""
    try:
        program("prometheus", "prometheus")
    except MissingError as missing:
        pytest.skip(str(missing))
    attributes = smallest(tiny_lit)
    tiny = attributes["profiles"]["tiny"]
    tiny["resources"] |= {"render_workers": 2, "encode_workers": 1, "train_workers": 1}
    tiny["tracking"] = {"loggers": [{"kind": "mlflow"}]}
    workflow = tmp_path_factory.mktemp("workflow") / "workflow.yaml"
    workflow.write_text(yaml.safe_dump(attributes))
    # Short: sockets of Ray lie in it. Not in pytest's folders: Postgres' user cannot enter them.
    folder = Path(tempfile.mkdtemp(prefix="vl-"))
    extra = {"VITLENS_TEST_WORKFLOW": str(workflow)}
    stack = Stack(folder, free_ports(), "tests.workflows.every_minute", extra)
    try:
        stack.up()
        yield stack
    except StackError as error:
        log = Path(str(error).rpartition("see ")[2])
        pytest.fail(f"{error}\n{log.read_text()[-3000:] if log.exists() else ''}")
    finally:
        stack.down()
        shutil.rmtree(folder, ignore_errors=True)


def vitlens(stack: Stack, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from workflows.cli import main; main()", *arguments]
    return subprocess.run(
        command,
        env=stack.environment(**environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def asked(stack: Stack, query: str) -> list[dict[str, Any]]:
    """Prometheus' answer to a query."""
    chosen = urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(f"{stack.url('prometheus')}/api/v1/query?{chosen}") as answer:
        return json.load(answer)["data"]["result"]


def known_names(stack: Stack) -> set[str]:
    with urllib.request.urlopen(
        f"{stack.url('prometheus')}/api/v1/label/__name__/values"
    ) as answer:
        return set(json.load(answer)["data"])


def runs(stack: Stack) -> list[str]:
    """States of all runs, oldest first, as Postgres has them."""
    table = "SELECT status FROM runs ORDER BY id"
    return stack.postgres.query(table, "dagster").split()


def until(stack: Stack, look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: {runs(stack)}\n{log_tails(stack)}"
        time.sleep(1)
    return found


def log_tails(stack: Stack) -> str:
    logs = (stack.folder / "logs").glob("*.log")
    return "\n".join(f"== {path.name}\n{path.read_text()[-1500:]}" for path in logs)


def figure(stack: Stack, query: str) -> float:
    return sum(float(sample["value"][1]) for sample in asked(stack, query))


def fired(stack: Stack) -> set[str]:
    seen = asked(stack, 'max_over_time(ALERTS{alertstate="firing"}[1h])')
    return {sample["metric"]["alertname"] for sample in seen}


def champion(stack: Stack) -> str:
    """The version that the alias names, as Postgres has it."""
    table = "SELECT version FROM registered_model_aliases WHERE alias = 'champion'"
    return stack.postgres.query(table, "mlflow")


def versions(stack: Stack) -> str:
    """The registered lenses, as Postgres has them; other models keep the order of promotions."""
    table = "SELECT version, run_id, source FROM model_versions WHERE name = 'vitlens-thermal'"
    return stack.postgres.query(f"{table} ORDER BY version", "mlflow")


def is_loopback(address: str) -> bool:
    """gRPC listens on 127.0.0.1 in its IPv6 form."""
    ip = ipaddress.ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def listed(process: psutil.Process) -> list[Any]:
    """The connections of a process; of Ray's many, one may end meanwhile."""
    try:
        return process.net_connections("inet")
    except psutil.NoSuchProcess:
        return []


def beyond_loopback(stack: Stack) -> set[str]:
    """Programs of the stack that listen on more than loopback."""
    found = set()
    for name in stack.processes.known():
        process = stack.processes.process(name)
        assert process is not None, f"{name} is gone"
        for each in (process, *process.children(recursive=True)):
            for connection in listed(each):
                if connection.status == psutil.CONN_LISTEN and not is_loopback(connection.laddr.ip):
                    found.add(name)
    return found


def test_a_scheduled_run_comes_through_faults_to_a_champion(stack: Stack) -> None:
    workspace = str(stack.folder / "workspace.yaml")
    start = [sys.executable, "-m", "dagster", "schedule", "start", SCHEDULE, "-w", workspace]
    subprocess.run(start, env=stack.environment(), cwd=ROOT, check=True, capture_output=True)

    # In the middle: the first shards are made.
    until(stack, lambda: figure(stack, 'vitlens_artifacts{step="source"}'), "the first step")
    stack.processes.stop("worker-1", signal.SIGKILL)
    stack.processes.stop("postgres")
    stack.start("postgres")
    stack.processes.send("store", signal.SIGSTOP)
    stack.processes.stop("mlflow")
    time.sleep(AWAY_S)
    stack.processes.send("store", signal.SIGCONT)
    stack.start("mlflow")
    until(stack, lambda: {"TargetDown", "SourceUnreadable"} <= fired(stack), "the alerts")
    stack.start("worker-1")

    until(stack, lambda: champion(stack), "a champion")
    until(stack, lambda: runs(stack)[-1] == "SUCCESS", "the end of the run")
    assert champion(stack) == "1"
    assert versions(stack).count("\n") == 0
    print("runs", runs(stack), "alerts", sorted(fired(stack)))
    doubled = [s for s in asked(stack, "vitlens_artifacts") if float(s["value"][1]) != 1]
    assert not doubled
    assert not asked(stack, "vitlens_artifact_quarantined > 0")
    assert "RayNodeLost" in fired(stack)
    assert vitlens(stack, "verify").returncode == 0

    drawn = draw(stack.url("prometheus"), stack.folder / "dashboard.png", minutes=15)
    assert drawn["Samples of finished artifacts"] >= 3
    assert drawn["Champion"] == 1
    assert (stack.folder / "dashboard.png").stat().st_size > 10_000

    shown = known_names(stack)
    of_ray = {n for query in queries().values() for n in _NAME.findall(query) if n[:4] == "ray_"}
    assert of_ray - shown == NEEDS_A_GPU
    assert beyond_loopback(stack) <= {"head", "worker-1", "worker-2"}


def test_who_only_reads_cannot_promote(stack: Stack) -> None:
    import base64

    admin = base64.b64encode(f"admin:{stack.secret('mlflow-admin')}".encode()).decode()
    account = json.dumps({"username": "reader", "password": "reads-and-no-more"}).encode()
    request = urllib.request.Request(
        f"{stack.url('mlflow')}/api/2.0/mlflow/users/create",
        account,
        {"Authorization": f"Basic {admin}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()
    reader = {
        "MLFLOW_TRACKING_USERNAME": "reader",
        "MLFLOW_TRACKING_PASSWORD": "reads-and-no-more",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    assert "vitlens-thermal" in vitlens(stack, "status", **reader).stdout
    before = stack.postgres.query("SELECT * FROM registered_model_aliases", "mlflow")
    refused = vitlens(stack, "rollback", "thermal", **reader)
    assert refused.returncode != 0
    forced = vitlens(stack, "promote", "thermal", "1", "--force", **reader)
    assert stack.postgres.query("SELECT * FROM registered_model_aliases", "mlflow") == before
    assert "reads-and-no-more" not in refused.stdout + refused.stderr + forced.stderr
    nobody = vitlens(stack, "status", **(reader | {"MLFLOW_TRACKING_PASSWORD": "wrong"}))
    assert nobody.returncode != 0


def test_a_restored_backup_has_the_same_registry(stack: Stack, tmp_path: Path) -> None:
    where = f"host={stack.postgres.folder}&port={stack.postgres.port}"
    given = ["--files", "s3://mlflow"]
    for database in ("dagster", "mlflow", "mlflow_auth"):
        given += ["--database", f"postgresql://postgres@/{database}?{where}"]
    before, made = versions(stack), runs(stack)
    done = vitlens(stack, "backup", str(tmp_path), *given)
    assert done.returncode == 0, done.stderr

    for name in ("daemon", "webserver", "code", "mlflow"):
        stack.processes.stop(name)
    stack.postgres.query("TRUNCATE registered_models, runs CASCADE", "mlflow")
    restored = vitlens(stack, "restore", done.stdout.strip(), *given)
    assert restored.returncode == 0, restored.stderr
    for name in ("mlflow", "code", "webserver", "daemon"):
        stack.start(name)
    assert versions(stack) == before
    assert runs(stack)[: len(made)] == made
    assert champion(stack) == "1"
    history = vitlens(stack, "history", "thermal")
    assert "promote" in history.stdout, history.stderr


def test_down_stops_what_up_started_and_nothing_else(stack: Stack) -> None:
    families = [
        each
        for name in stack.processes.known()
        if (process := stack.processes.process(name))
        for each in (process, *process.children(recursive=True))
    ]
    other = subprocess.Popen(["sleep", "600"])
    stack.down()
    _, alive = psutil.wait_procs(families, timeout=30)
    assert not alive
    assert other.poll() is None
    other.kill()
    other.wait()
    stack.down()
    assert not stack.processes.known()

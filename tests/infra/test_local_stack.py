"""The whole stack on loopback: a schedule's run goes through faults to a champion.

Postgres, an S3 server, MLflow with accounts, Ray of three nodes with a token, Dagster's code
server, page and daemon, the exporter and Prometheus: processes of their own, as on a team's server.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from infra.local.dashboard import draw
from infra.local.debian import MissingError, program
from infra.local.processes import StackError
from infra.local.stack import Stack, free_ports
from tests.infra.on_stack import (
    account,
    account_of,
    ask_service,
    asked,
    begun,
    champion,
    empty,
    figure,
    fired,
    is_loopback,
    known_names,
    launch,
    runs,
    settings_of_user,
    sockets,
    stored,
    tell_mlflow,
    turn_schedule,
    until,
    versions,
    vitlens,
)
from tests.infra.test_monitoring import _NAME, queries
from tests.receivers import receiving
from tests.workflows.test_daemon import smallest
from workflows.settings import run_config

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1500)]
AWAY_S = 30.0
KEPT = os.environ.get("VITLENS_KEEP")  # a folder for the list of outcomes and the dashboard
NEEDS_A_GPU = {"ray_node_gpus_utilization"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, tiny_lit: str) -> Iterator[Stack]:
    """The stack with the workflow of thermal pictures at its smallest, its work on Ray."""
    try:
        program("prometheus", "prometheus")
    except MissingError as missing:
        pytest.fail(f"{missing}: without it nothing is measured, and no alert fires")
    attributes = smallest(tiny_lit)
    tiny = attributes["profiles"]["tiny"]
    tiny["resources"] |= {"render_workers": 2, "encode_workers": 1, "train_workers": 1}
    tiny["tracking"] = {"loggers": [{"kind": "mlflow"}]}
    workflow = tmp_path_factory.mktemp("workflow") / "workflow.yaml"
    workflow.write_text(yaml.safe_dump(attributes))
    # Short: sockets of Ray lie in it. Not in pytest's folders: Postgres' user cannot enter them.
    folder = Path(tempfile.mkdtemp(prefix="vl-"))
    extra = {
        "VITLENS_TEST_WORKFLOW": str(workflow),
        # MLflow's webhooks go to public addresses by https, unless it is told otherwise.
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",  # s; else a new webhook is seen a minute later
    }
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


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, str]]:
    """What was done to the stack, and what came of it; printed when all is over."""
    began = time.monotonic()
    if KEPT:
        Path(KEPT).mkdir(exist_ok=True)
    found: dict[str, str] = {}
    yield found
    lines = ["", f"{'fault':<42} outcome"]
    lines += [f"{fault:<42} {outcome}" for fault, outcome in found.items()]
    lines.append(f"all of it took {(time.monotonic() - began) / 60:.1f} min")
    print("\n".join(lines))
    if KEPT:
        Path(KEPT, "outcomes.txt").write_text("\n".join(lines[1:]) + "\n")


def test_a_scheduled_run_comes_through_faults_to_a_champion(
    stack: Stack, outcomes: dict[str, str]
) -> None:
    turn_schedule(stack, "start")

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
    until(stack, lambda: runs(stack)[0] == "SUCCESS", "the end of the run")
    turn_schedule(stack, "stop")  # else a run a minute takes the cores of what follows
    assert champion(stack) == "1"
    stack.serve("models:/vitlens-thermal@champion")
    for _ in range(10):
        ask_service(stack)
        time.sleep(1)
    assert versions(stack).count("\n") == 0
    doubled = [s for s in asked(stack, "vitlens_artifacts") if float(s["value"][1]) != 1]
    assert not doubled
    assert not asked(stack, "vitlens_artifact_quarantined > 0")
    assert "RayNodeLost" in fired(stack)
    assert vitlens(stack, "verify").returncode == 0
    ended, alerts = ", ".join(runs(stack)), ", ".join(sorted(fired(stack)))
    outcomes |= {
        "a node of Ray killed (SIGKILL)": "its shards were made on another; RayNodeLost fired",
        "Postgres restarted": "connections were made anew",
        f"object store silent for {AWAY_S:.0f} s": "reads and writes waited",
        f"MLflow stopped for {AWAY_S:.0f} s": "requests were tried again; SourceUnreadable fired",
        "all of these in one scheduled run": f"runs: {ended}; version 1 is champion",
        "lost or doubled": "every artifact once, every file as written, one version",
        "alerts that fired": alerts,
    }

    # A rate takes two readings.
    until(
        stack, lambda: figure(stack, "rate(vitlens_requests_total[1m])"), "figures of the service"
    )
    drawn = draw(stack.url("prometheus"), stack.folder / "dashboard.png", minutes=15)
    assert drawn["Samples of finished artifacts"] >= 3
    assert drawn["Champion"] == 1
    assert drawn["Requests a second"] >= 1
    stack.processes.stop("service")  # its core is for the runs that follow
    assert (stack.folder / "dashboard.png").stat().st_size > 10_000

    shown = known_names(stack)
    of_ray = {n for query in queries().values() for n in _NAME.findall(query) if n[:4] == "ray_"}
    assert of_ray - shown == NEEDS_A_GPU
    listening = sockets(stack)
    beyond = {name: found for name, found in listening.items() if not all(map(is_loopback, found))}
    assert not beyond
    outcomes["what listens"] = ", ".join(f"{n} {len(found)}" for n, found in listening.items())


def test_mlflow_tells_of_a_new_champion_signed(stack: Stack, outcomes: dict[str, str]) -> None:
    """MLflow's own webhooks, which see every client that moves an alias."""
    with receiving() as receiver:
        hook = {
            "name": "champions",
            "url": receiver.url,
            "secret": "a-shared-secret",
            "events": [{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}],
        }
        tell_mlflow(stack, "2.0/mlflow/webhooks", **hook)
        done = vitlens(stack, "promote", "thermal", "1", "--force")
        assert done.returncode == 0, done.stderr
        table = "DELETE FROM registered_model_aliases WHERE alias = 'champion'"
        stack.postgres.query(table, "mlflow")
        done = vitlens(stack, "promote", "thermal", "1", "--force", "--why", "a webhook's test")
        assert done.returncode == 0, done.stderr
        until(stack, lambda: receiver.taken, "the webhook")
    headers, body = receiver.taken[-1]
    content = f"{headers['x-mlflow-delivery-id']}.{headers['x-mlflow-timestamp']}.{body.decode()}"
    expected = hmac.digest(b"a-shared-secret", content.encode(), "sha256")
    assert headers["x-mlflow-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    told = json.loads(body)["data"]
    assert (told["name"], told["alias"], told["version"]) == ("vitlens-thermal", "champion", "1")
    outcomes["an alias moved"] = "MLflow's signed webhook came"


def test_two_users_run_at_once(
    stack: Stack, outcomes: dict[str, str], tiny_lit: str, tmp_path: Path
) -> None:
    """Each with an account and a home, on one Ray, one store and one registry."""
    table = "SELECT experiment_id FROM experiments WHERE name = 'vitlens'"
    experiment = stack.postgres.query(table, "mlflow")
    # As docs/deployment/operation.md has it.
    rights = {
        ("experiment", experiment): "EDIT",
        ("registered_model", "vitlens-thermal"): "MANAGE",
        ("registered_model", "vitlens-thermal.moves"): "EDIT",  # the log of promotions
    }
    users = {}
    for seed, name in enumerate(("alice", "bob"), start=1):
        variables = account(stack, name, f"the-password-of-{name}")
        for (kind, each), permission in rights.items():
            what = {"resource_type": kind, "resource_id": each, "permission": permission}
            tell_mlflow(stack, "3.0/mlflow/users/permissions/grant", username=name, **what)
        variables["VITLENS_HOME"] = str(tmp_path / name)
        variables["RAY_ADDRESS"] = f"127.0.0.1:{stack.ports['ray']}"
        users[name] = (variables, settings_of_user(tiny_lit, seed))
    together = {name: begun(stack, *users[name]) for name in users}
    ended = {name: process.communicate() for name, process in together.items()}
    codes = {name: process.returncode for name, process in together.items()}
    told = {name: "".join(texts) for name, texts in ended.items()}
    assert 0 in codes.values(), told
    for name in [name for name, code in codes.items() if code]:
        # Both were compared with the champion that the other has replaced.
        assert "is champion now" in told[name], told[name]
        again = begun(stack, *users[name])
        said = "".join(again.communicate())
        assert again.returncode == 0, said

    registered = versions(stack).splitlines()
    assert [line.split("|")[0] for line in registered] == ["1", "2", "3"]
    assert len(champion(stack).splitlines()) == 1
    users_of_runs = "SELECT DISTINCT value FROM tags WHERE key = 'mlflow.user'"
    assert {"alice", "bob"} <= set(stack.postgres.query(users_of_runs, "mlflow").split())
    until(stack, lambda: figure(stack, 'vitlens_artifacts{step="lens"}') == 3, "three lenses")
    made = {s["metric"]["step"]: float(s["value"][1]) for s in asked(stack, "vitlens_artifacts")}
    assert made["shards"] == made["targets"] == made["foundation"] == 1
    assert not any("the-password-of" in text for text in told.values())
    late = sum(code != 0 for code in codes.values())
    outcomes["two users' runs at once"] = (
        f"versions 2 and 3; {late} was asked to run again, as the champion had changed; "
        f"version {champion(stack)} is champion"
    )


def test_a_run_whose_head_of_ray_is_killed_begins_again(
    stack: Stack, outcomes: dict[str, str], tiny_lit: str
) -> None:
    """The run's driver is gone with it, and its places in Dagster's pools must not stay taken."""
    ended = runs(stack)
    chosen = [f"foundation.spec={tiny_lit}", "lens.train.seed=3"]
    launch(stack, "thermal", run_config("thermal", "tiny", chosen))
    until(stack, lambda: runs(stack)[len(ended) :] == ["STARTED"], "the start of a run")
    table = "SELECT count(*) FROM concurrency_slots WHERE run_id IS NOT NULL"
    until(stack, lambda: stack.postgres.query(table, "dagster") != "0", "a place in a pool")
    stack.processes.stop("head", signal.SIGKILL)
    for name in ("worker-1", "worker-2"):
        stack.processes.stop(name)  # nodes do not outlive their head
    time.sleep(AWAY_S)
    for name in ("head", "worker-1", "worker-2"):
        stack.start(name)

    until(stack, lambda: runs(stack)[len(ended) :] == ["FAILURE", "SUCCESS"], "the second run")
    until(stack, lambda: stack.postgres.query(table, "dagster") == "0", "places in pools")
    assert [line.split("|")[0] for line in versions(stack).splitlines()] == ["1", "2", "3", "4"]
    until(stack, lambda: "RunFailed" in fired(stack), "the alert")
    if KEPT:
        draw(stack.url("prometheus"), Path(KEPT, "dashboard.png"), minutes=15)
    outcomes["Ray's head killed, with the driver"] = (
        "the run was marked failed and begun again by Dagster; version 4; no place stayed taken"
    )


def test_who_only_reads_cannot_promote(stack: Stack, outcomes: dict[str, str]) -> None:
    reader = account(stack, "reader", "reads-and-no-more")
    reader["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    assert "vitlens-thermal" in vitlens(stack, "status", **reader).stdout
    before = stack.postgres.query("SELECT * FROM registered_model_aliases", "mlflow")
    refused = vitlens(stack, "rollback", "thermal", **reader)
    assert refused.returncode != 0
    # To promote the champion moves no alias, and needs no right.
    other = min({"1", "2", "3", "4"} - {champion(stack)})
    forced = vitlens(stack, "promote", "thermal", other, "--force", **reader)
    assert forced.returncode != 0
    assert stack.postgres.query("SELECT * FROM registered_model_aliases", "mlflow") == before
    assert "reads-and-no-more" not in refused.stdout + refused.stderr + forced.stderr
    nobody = vitlens(stack, "status", **(reader | {"MLFLOW_TRACKING_PASSWORD": "wrong"}))
    assert nobody.returncode != 0
    outcomes["a user who may read promotes, rolls back"] = "refused; no alias moved"


def test_the_doctor_finds_the_parts_of_the_stack_well(stack: Stack) -> None:
    done = vitlens(stack, "doctor", "--json")
    found = {each["check"]: each for each in json.loads(done.stdout)}
    parts = [found[name] for name in ("store", "tracking", "ray", "dagster")]
    assert [each["state"] for each in parts] == ["ok"] * 4, parts


def test_a_restored_backup_has_the_same_registry(
    stack: Stack, outcomes: dict[str, str], tmp_path: Path
) -> None:
    where = f"host={stack.postgres.folder}&port={stack.postgres.port}"
    given = ["--files", "s3://mlflow"]
    for database in ("dagster", "mlflow", "mlflow_auth"):
        given += ["--database", f"postgresql://postgres@/{database}?{where}"]
    before, made, champion_before = versions(stack), runs(stack), champion(stack)
    done = vitlens(stack, "backup", str(tmp_path), *given)
    assert done.returncode == 0, done.stderr

    until(stack, lambda: figure(stack, "vitlens_backup_bytes") > 0, "the backup's figures")
    parts = ("exporter", "daemon", "webserver", "code", "mlflow")
    for name in parts:
        stack.processes.stop(name)
    stack.postgres.query("TRUNCATE registered_models, runs CASCADE", "mlflow")
    stack.postgres.query("TRUNCATE users CASCADE", "mlflow_auth")
    emptied = len(stored(stack, "mlflow"))
    assert emptied > 0
    empty(stack, "mlflow")
    restored = vitlens(stack, "restore", done.stdout.strip(), *given)
    assert restored.returncode == 0, restored.stderr
    for name in reversed(parts):
        stack.start(name)
    assert len(stored(stack, "mlflow")) == emptied
    assert versions(stack) == before
    assert runs(stack)[: len(made)] == made
    assert champion(stack) == champion_before
    history = vitlens(stack, "history", "thermal")
    assert "promote" in history.stdout, history.stderr
    alice = account_of("alice", "the-password-of-alice")
    assert "vitlens-thermal" in vitlens(stack, "status", **alice).stdout
    outcomes["registry, accounts and bucket emptied, backup restored"] = (
        f"the same versions, runs, champion and accounts, and {emptied} files of models"
    )


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

"""What tests ask of a running stack, and do to it."""

from __future__ import annotations

import base64
import ipaddress
import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil

from infra.local.stack import Stack, store_client
from tests.conftest import ROOT
from tests.workflows.test_daemon import SCHEDULE

DEADLINE_S = 900
# As `smallest` has it, so that users find what the schedule's run made.
TINY = {
    "source.count": 12,
    "foundation.embed_dim": 8,
    "foundation.image_size_px": 32,
    "foundation.fit": "{steps: 2, batch_size: 8}",
    "shards.image_px": 32,
    "signal.side_px": 32,
    "lens.tokenizer": "{patch_px: 16, width: 192}",
    "resources.cpus": 2,
    "resources.render_workers": 1,
    "resources.threads_per_train_worker": 1,
}


VITLENS = [sys.executable, "-c", "from workflows.cli import main; main()"]


def vitlens(stack: Stack, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*VITLENS, *arguments]
    return subprocess.run(
        command,
        env=stack.environment(**environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def turn_schedule(stack: Stack, verb: str) -> None:
    """Start or stop the schedule, as its user does it."""
    workspace = str(stack.folder / "workspace.yaml")
    command = [sys.executable, "-m", "dagster", "schedule", verb, SCHEDULE, "-w", workspace]
    subprocess.run(command, env=stack.environment(), cwd=ROOT, check=True, capture_output=True)


def launch(stack: Stack, job: str, config: dict[str, Any]) -> None:
    """Put a run into Dagster's queue, as its page does it."""
    workspace = str(stack.folder / "workspace.yaml")
    command = [sys.executable, "-m", "dagster", "job", "launch", "-w", workspace, "-j", job]
    command += ["--config-json", json.dumps(config)]
    subprocess.run(command, env=stack.environment(), cwd=ROOT, check=True, capture_output=True)


def tell_mlflow(stack: Stack, path: str, **body: object) -> None:
    """Send a request of MLflow's admin."""
    admin = base64.b64encode(f"admin:{stack.secret('mlflow-admin')}".encode()).decode()
    request = urllib.request.Request(
        f"{stack.url('mlflow')}/api/{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Basic {admin}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()


def account(stack: Stack, name: str, password: str) -> dict[str, str]:
    """A new account of MLflow, as variables of its user."""
    tell_mlflow(stack, "2.0/mlflow/users/create", username=name, password=password)
    return account_of(name, password)


def account_of(name: str, password: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_USERNAME": name,
        "MLFLOW_TRACKING_PASSWORD": password,
        "VITLENS_USER": name,
    }


def ask_service(stack: Stack) -> None:
    """Embed a text, so that the service has a request to count and to time."""
    request = urllib.request.Request(
        f"{stack.url('service')}/embed",
        json.dumps({"inputs": [{"modality": "text", "text": "a person"}]}).encode(),
        {"Authorization": f"Bearer {stack.secret('service')}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()


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


def stored(stack: Stack, bucket: str) -> list[str]:
    """Keys of the objects in a bucket."""
    pages = store_client(stack).get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [each["Key"] for page in pages for each in page.get("Contents", ())]


def empty(stack: Stack, bucket: str) -> None:
    client = store_client(stack)
    for key in stored(stack, bucket):
        client.delete_object(Bucket=bucket, Key=key)


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


def sockets(stack: Stack) -> dict[str, list[str]]:
    """The addresses at which each part of the stack listens."""
    found = {}
    for name in stack.processes.known():
        process = stack.processes.process(name)
        assert process is not None, f"{name} is gone"
        family = (process, *process.children(recursive=True))
        listening = [c for each in family for c in listed(each) if c.status == psutil.CONN_LISTEN]
        found[name] = [connection.laddr.ip for connection in listening]
    return found


def settings_of_user(foundation: str, seed: int) -> list[str]:
    chosen = {**TINY, "foundation.spec": foundation, "lens.train.seed": seed}
    return [part for name, value in chosen.items() for part in ("--set", f"{name}={value}")]


def begun(stack: Stack, variables: dict[str, str], settings: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*VITLENS, "run", "thermal", "--profile", "tiny", *settings],
        env=stack.environment(**variables),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

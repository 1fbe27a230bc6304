"""`vitlens ui`: who can reach Dagster and MLflow through the fronts, and beside them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.sockets import listening, table

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(300), pytest.mark.xdist_group("ui")]
QUERY = {"query": "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"}
LAUNCH = {"query": "mutation { wipeAssets(assetPartitionRanges: []) { __typename } }"}
EXPERIMENTS = "/ajax-api/2.0/mlflow/experiments/search"


@dataclass
class Ui:
    """A running `vitlens ui`."""

    process: subprocess.Popen
    log: Path
    home: Path

    def link(self, name: str) -> str:
        """The last link of a server: each works once."""
        return re.findall(rf"^{name} .*?(http://\S+)", self.log.read_text(), re.MULTILINE)[-1]

    def address(self, name: str) -> str:
        return self.link(name).partition("/?")[0]

    @contextmanager
    def entered(self, name: str) -> Generator[httpx.Client]:
        """A browser that has opened the link."""
        with httpx.Client(base_url=self.address(name), timeout=60) as client:
            assert client.get(self.link(name)).status_code == 303
            yield client


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    folder = tmp_path_factory.mktemp("ui")
    start = "from workflows.cli import main; main()"
    ports = ["--port", free_port(), "--mlflow-port", free_port()]
    environment = {**os.environ, "VITLENS_HOME": str(folder / "home")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", start, "ui", *ports], env=environment, stdout=log, stderr=log
        )
    made = Ui(process, folder / "log", folder / "home")
    deadline = time.monotonic() + 250
    while "Ctrl-C" not in made.log.read_text():
        assert process.poll() is None, made.log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.5)
    yield made
    process.kill()
    process.wait()


@pytest.mark.parametrize("name", ["dagster", "mlflow"])
def test_without_the_link_nothing_is_answered(ui: Ui, name: str) -> None:
    address = ui.address(name)
    for path in ("/", "/graphql", "/server_info", EXPERIMENTS, "/health", "/?enter=wrong"):
        assert httpx.get(f"{address}{path}").status_code == 401
        assert httpx.post(f"{address}{path}", json=QUERY).status_code == 401
    wrong = {f"vitlens-{name}-{address.rpartition(':')[2]}": "x" * 43}
    assert httpx.get(f"{address}/", cookies=wrong).status_code == 401


def test_the_link_works_once_and_its_browser_uses_the_ui(ui: Ui) -> None:
    link = ui.link("dagster")
    with ui.entered("dagster") as client:
        assert httpx.get(link).status_code == 401
        page = client.get("/")
        assert (page.status_code, "Dagster" in page.text) == (200, True)
        found = client.post("/graphql", json=QUERY).json()
        assert found["data"]["repositoriesOrError"]["nodes"]
    with ui.entered("mlflow") as client:
        assert client.post(EXPERIMENTS, json={"max_results": 5}).json()["experiments"]
        missing = client.get("/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=%2F%20x")
        assert missing.status_code == 404


def test_mlflow_opens_on_the_runs_of_trained_models(ui: Ui) -> None:
    """Its own first page is about agents."""
    place = httpx.get(ui.link("mlflow")).headers["location"]
    assert re.fullmatch(r"/#/experiments/\d+/runs\?workflowType=machine_learning", place)
    assert httpx.get(ui.link("dagster")).headers["location"] == "/"


@pytest.mark.parametrize("name", ["dagster", "mlflow"])
def test_other_sites_and_names_are_refused_with_the_cookie_too(ui: Ui, name: str) -> None:
    path, asked = ("/graphql", LAUNCH) if name == "dagster" else (EXPERIMENTS, {"max_results": 1})
    with ui.entered(name) as client:
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "http://localhost"):
            answer = client.post(path, json=asked, headers={"origin": origin})
            assert answer.status_code == 403
        for host in ("evil.example", "127.0.0.1", "localhost:1", "x.localhost"):
            assert client.get("/", headers={"host": host}).status_code == 403
        same = {"origin": ui.address(name)}
        assert client.post(path, json=asked, headers=same).status_code == 200
        assert client.get("/").headers["x-frame-options"] == "SAMEORIGIN"


def test_subscriptions_pass_and_those_of_others_do_not(ui: Ui) -> None:
    address = ui.address("dagster")
    url = address.replace("http", "ws") + "/graphql"
    with pytest.raises(InvalidStatus, match="401"):
        connect(url, subprotocols=["graphql-ws"])  # ty: ignore[invalid-argument-type]
    with ui.entered("dagster") as client:
        cookie = "; ".join(f"{k}={v}" for k, v in client.cookies.items())
    known = {"cookie": cookie, "origin": address}
    with pytest.raises(InvalidStatus, match="403"):
        connect(url, additional_headers={**known, "origin": "http://evil.example"})
    with connect(url, subprotocols=["graphql-ws"], additional_headers=known) as line:  # ty: ignore[invalid-argument-type]
        line.send(json.dumps({"type": "connection_init"}))
        assert json.loads(line.recv(30))["type"] == "connection_ack"


def test_only_the_fronts_listen_and_sockets_are_this_users(ui: Ui) -> None:
    ports = {int(ui.address(name).rpartition(":")[2]) for name in ("dagster", "mlflow")}
    found = listening(ui.process.pid)
    print(table(found))
    assert {each.port for each in found} == ports
    assert all(each.is_loopback for each in found)
    for path in _unix_sockets(ui.process.pid):
        assert any(folder.stat().st_mode & 0o077 == 0 for folder in path.parents), path


def _unix_sockets(pid: int) -> set[Path]:
    root = psutil.Process(pid)
    family = [root, *root.children(recursive=True)]
    found = {Path(c.laddr) for p in family for c in p.net_connections("unix") if c.laddr}
    paths = {path for path in found if path.is_absolute() and path.exists()}
    assert len(paths) >= 3
    return paths


def test_a_signal_ends_the_servers(ui: Ui) -> None:
    """The last test of this file."""
    children = psutil.Process(ui.process.pid).children(recursive=True)
    ui.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    ui.process.send_signal(signal.SIGINT)  # an impatient user
    assert ui.process.wait(90) == 0
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert ui.log.read_text().rstrip().endswith("stopped")

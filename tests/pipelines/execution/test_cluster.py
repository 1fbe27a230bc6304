"""A local Ray: who can reach it, and what it answers to those who have no token."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import ray
from ray.core import generated

from tests.sockets import Socket, listening, table

pytestmark = pytest.mark.timeout(300)

# A job's submission and the other doors that answer HTTP, with what an attacker would send.
HTTP_DOORS = (
    ("GET", "/api/job_agent/jobs/x/logs", None),
    ("POST", "/api/job_agent/jobs/", {"entrypoint": "touch /tmp/owned"}),
    ("POST", "/api/job_agent/jobs/x/stop", {}),
    ("DELETE", "/api/job_agent/jobs/x", None),
    ("POST", "/api/jobs/", {"entrypoint": "touch /tmp/owned"}),
    ("GET", "/api/v0/logs", None),
    ("GET", "/api/serve/applications/", None),
    ("PUT", "/api/serve/applications/", {"applications": []}),
    ("GET", "/logs/", None),
    ("GET", "/worker/traceback?pid=1", None),
    ("POST", "/get_or_create_runtime_env", {}),
    ("POST", "/delete_runtime_env_if_possible", {}),
    ("POST", "/get_runtime_envs_info", {}),
)
# What holds figures of Ray itself, read by nobody here, and answers whoever asks on the loopback.
OPEN_TO_THIS_MACHINE = {"/metrics"}
TOKENS = (None, "Bearer wrong", "Bearer " + "0" * 64, "wrong")


@ray.remote(num_cpus=0)
class Idle:
    """A worker that lives while sockets are listed."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)


@pytest.fixture(scope="module")
def doors(local_ray: None) -> Iterator[list[Socket]]:
    """Every listening socket of this process and of Ray's, with a worker among them."""
    idle: Any = Idle.remote()
    ray.get(idle.environment.remote())
    yield listening(os.getpid())
    ray.kill(idle)


def test_a_local_ray_listens_on_the_loopback_only(doors: list[Socket]) -> None:
    print(table(doors))
    assert len(doors) > 8, "gcs_server, raylet, agents, workers"
    assert not [each for each in doors if not each.is_loopback]


@pytest.mark.parametrize("token", TOKENS)
def test_no_http_door_opens_without_the_token(doors: list[Socket], token: str | None) -> None:
    headers = {"authorization": token} if token else {}
    ends: Counter[str] = Counter()
    with httpx.Client(timeout=5, headers=headers) as client:
        for door in doors:
            for method, path, body in HTTP_DOORS:
                url = f"http://127.0.0.1:{door.port}{path}"
                try:
                    answer = client.request(method, url, json=body)
                except httpx.HTTPError:
                    ends["no HTTP"] += 1
                    continue
                # The servers of figures answer every path with the same figures.
                is_figures = answer.text.startswith("# HELP") or not answer.text
                if is_figures and answer.status_code == 200:
                    ends["figures"] += 1
                    continue
                assert answer.status_code in (401, 403, 404, 405), (url, answer.text[:200])
                ends[str(answer.status_code)] += 1
    # The agent of the node at least; other servers answer the same, or speak no HTTP.
    assert ends["401"] + ends["403"] >= len(HTTP_DOORS), ends


def rpc_methods() -> Iterator[str]:
    """Every method of every service that Ray declares, as gRPC names it."""
    for module in pkgutil.iter_modules(generated.__path__, f"{generated.__name__}."):
        if not module.name.endswith("_pb2"):
            continue
        file = importlib.import_module(module.name).DESCRIPTOR
        for service in file.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}"


@pytest.mark.parametrize("token", [None, "Bearer wrong"])
def test_no_rpc_is_answered_without_the_token(doors: list[Socket], token: str | None) -> None:
    methods = sorted(rpc_methods())
    assert "/ray.rpc.CoreWorkerService/PushTask" in methods
    assert "/ray.rpc.InternalKVGcsService/InternalKVPut" in methods
    metadata = [("authorization", token)] if token else []
    ends: Counter[str] = Counter()
    for door in doors:
        with grpc.insecure_channel(f"127.0.0.1:{door.port}") as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=1)
            except grpc.FutureTimeoutError:
                ends["no gRPC"] += 1
                continue
            for method in methods:
                try:
                    channel.unary_unary(method)(b"", timeout=5, metadata=metadata)
                except grpc.RpcError as error:
                    code = error.code()  # ty: ignore[missing-attribute]
                    ends[code.name] += 1
                    refused = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED)
                    assert code in refused, (door, method, code)
                else:
                    raise AssertionError(f"{method} was answered at {door}")
    assert ends["UNAUTHENTICATED"] > 100, ends


def test_a_stranger_cannot_join(local_ray: None) -> None:
    address = ray.get_runtime_context().gcs_address
    join = f"import ray; ray.init({address!r}); print(ray.get(ray.put('joined')))"
    for mode in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"}):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | mode
        environment["RAY_gcs_rpc_server_reconnect_timeout_s"] = "2"
        done = subprocess.run(
            [sys.executable, "-c", join],
            env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode != 0, mode
        assert "joined" not in done.stdout


def test_only_this_user_reads_the_token_and_the_sockets(local_ray: None) -> None:
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert len(token.read_text()) == 64
    sessions = list(token.parent.glob("ray/session_*/sockets"))
    assert sessions, "the sockets of Ray lie below the private folder"


RUN = """
import json, os, time
from pipelines.execution.cluster import connect
from pipelines.execution.runtime import Resources
connect(Resources(cpus=1, object_store_mb=80))
print(json.dumps([os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN_PATH"]]), flush=True)
"""


def started(script: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment["RAY_AUTH_MODE"] = "disabled"
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def told(process: subprocess.Popen[str]) -> tuple[str, Path]:
    """The mode and the folder of a Ray that another process has started."""
    assert process.stdout is not None
    mode, token = json.loads(process.stdout.readline())
    return mode, Path(token).parent


@pytest.mark.nightly
def test_the_folder_of_a_local_ray_goes_with_it() -> None:
    """And a second Ray of one machine comes up beside the first; RAY_AUTH_MODE cannot open it."""
    with started(RUN) as process:
        mode, folder = told(process)
        assert process.wait(120) == 0
    assert mode == "token"
    assert not folder.exists()


@pytest.mark.nightly
def test_the_folder_of_a_killed_ray_is_swept_and_a_live_ones_is_kept() -> None:
    with started(RUN + "time.sleep(600)") as killed, started(RUN + "time.sleep(600)") as live:
        _, left = told(killed)
        _, used = told(live)
        killed.kill()
        killed.wait()
        assert left.is_dir()
        with started(RUN) as third:
            told(third)
            assert not left.exists()
            assert (used / "token").read_text()
        live.kill()
    shutil.rmtree(used, ignore_errors=True)

"""Twenty kills over one build: workers, the raylet of a node, the driver. Nothing is lost.

On a cluster of two nodes on this machine. What comes out is what an undisturbed run gives, byte
for byte: no sample missing, none twice, no temporary file.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from upath import UPath

from pipelines.artifacts import Artifact, Store
from tests.chaos.small_build import SAMPLES, SHARDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("ray")]

KILLS = 20
NODE: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 80 * 1024**2}


class TwoNodes:
    """A head and a node that comes and goes."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args=NODE)
        self.second = self.cluster.add_node(**NODE)

    def lose_a_node(self) -> None:
        """Its raylet dies, and with it its workers; another node comes instead."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = self.cluster.add_node(**NODE)

    def workers(self) -> list[psutil.Process]:
        """Processes that write shards."""
        raylets = [
            node.all_processes["raylet"][0].process.pid for node in self.cluster.list_all_nodes()
        ]
        children = [child for pid in raylets for child in psutil.Process(pid).children()]
        return [child for child in children if _title(child).startswith("ray::MapWorker")]


def _title(process: psutil.Process) -> str:
    try:
        return process.cmdline()[0]
    except (psutil.Error, IndexError):
        return ""


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoNodes]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = TwoNodes()
    yield made
    made.cluster.shutdown()


def _driver(store: Path, address: str) -> subprocess.Popen:
    environment = os.environ | {"RAY_ADDRESS": address}
    command = [sys.executable, "-m", "tests.chaos.small_build", str(store)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def _shards(store: Path) -> int:
    return len(list(store.glob("slow/*/*.record.json")))


def test_twenty_kills_change_nothing(nodes: TwoNodes, tmp_path: Path) -> None:
    straight, store = tmp_path / "straight", tmp_path / "killed"
    assert _driver(straight, nodes.cluster.address).wait(300) == 0

    rng = random.Random(5)
    kills: Counter[str] = Counter()
    driver = _driver(store, nodes.cluster.address)
    # Each blow falls once another shard or two are done, so that all fall before the end.
    blows = [SHARDS * (number + 1) // (KILLS + 2) for number in range(KILLS)]
    for due in blows:
        deadline = time.monotonic() + 120
        while _shards(store) < due and driver.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.4))
        victim = rng.choice(["worker", "worker", "node", "driver"])
        if victim == "worker" and (workers := nodes.workers()):
            rng.choice(workers).send_signal(signal.SIGKILL)
        elif victim == "node":
            nodes.lose_a_node()
        else:
            victim = "driver"
            driver.kill()
        kills[victim] += 1
        if driver.poll() is not None or victim == "driver":
            driver.wait()
            driver = _driver(store, nodes.cluster.address)
    while driver.wait(300) != 0:
        driver = _driver(store, nodes.cluster.address)

    assert kills.total() == KILLS
    assert len(kills) == 3
    expected, found = _made(straight), _made(store)
    assert found.manifest.model_copy(update={"seconds": 0}) == expected.manifest.model_copy(
        update={"seconds": 0}
    )
    keys = [sample["__key__"] for path in found.shards() for sample in found.read(path)]
    assert len(keys) == len(set(keys)) == SHARDS * (SAMPLES - 1)
    assert len(found.manifest.quarantined) == SHARDS
    assert _contents(store) == _contents(straight)
    print(dict(kills))


def _made(store: Path) -> Artifact:
    (made,) = Store(UPath(store)).artifacts()
    return made


def _contents(store: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }

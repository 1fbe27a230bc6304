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
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from upath import UPath

from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from tests.chaos.small_build import SAMPLES, SHARDS
from tests.chaos.two_nodes import TwoNodes, two_nodes

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900), pytest.mark.xdist_group("local_ray")]

KILLS = 20


@pytest.fixture
def nodes() -> Iterator[TwoNodes]:
    with two_nodes(cpus=2) as made:
        yield made


def _driver(folder: Path, address: str) -> subprocess.Popen:
    environment = os.environ | {"RAY_ADDRESS": address}
    command = [sys.executable, "-m", "tests.chaos.small_build", str(folder)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def _shards(folder: Path) -> int:
    return len(list(folder.glob("artifacts/slow/*/*.record.json")))


def test_twenty_kills_change_nothing(
    nodes: TwoNodes, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert _driver(straight, nodes.address).wait(300) == 0

    rng = random.Random(5)
    kills: Counter[str] = Counter()
    driver = _driver(killed, nodes.address)
    # Each blow falls once another shard or two are done, so that all fall before the end.
    blows = [SHARDS * (number + 1) // (KILLS + 2) for number in range(KILLS)]
    for due in blows:
        deadline = time.monotonic() + 120
        while _shards(killed) < due and driver.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.4))
        victim = rng.choice(["worker", "worker", "node", "driver"])
        if victim == "worker" and (workers := nodes.workers("ray::Map(")):
            rng.choice(workers).send_signal(signal.SIGKILL)
        elif victim == "node":
            nodes.replace_a_node()
        else:
            victim = "driver"
            driver.kill()
        kills[victim] += 1
        if driver.poll() is not None or victim == "driver":
            driver.wait()
            driver = _driver(killed, nodes.address)
    while driver.wait(300) != 0:
        driver = _driver(killed, nodes.address)

    record_property("kills", dict(kills))
    assert kills.total() == KILLS
    assert len(kills) == 3
    expected, found = _made(straight), _made(killed)
    assert found.manifest.model_copy(update={"seconds": 0}) == expected.manifest.model_copy(
        update={"seconds": 0}
    )
    keys = [sample["__key__"] for path in found.shards() for sample in found.read(path)]
    assert len(keys) == len(set(keys)) == SHARDS * (SAMPLES - 1)
    assert len(found.quarantined()) == SHARDS
    assert _contents(killed) == _contents(straight)


def _made(folder: Path) -> Artifact:
    (made,) = Store(UPath(folder / "artifacts")).artifacts()
    return made


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }

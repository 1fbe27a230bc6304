"""A worker dies amid training, then a node for good: the lens ends as if nothing had happened.

Two workers on a cluster of two nodes; after the node is lost, one goes on alone. Data order,
augmentation, schedule and optimizer are restored, so the curve is that of an undisturbed run,
within 1e-3 after 60 steps (float32 sums in another order).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from upath import UPath

from pipelines.lens.curves import read_curves
from pipelines.store.artifact_store import Store
from tests.chaos.small_training import train
from tests.chaos.two_nodes import TwoNodes, two_nodes
from vitlens_core.model_files import LENS_FILE

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900), pytest.mark.xdist_group("local_ray")]


@pytest.fixture
def nodes() -> Iterator[TwoNodes]:
    with two_nodes(cpus=1) as made:
        yield made


def _wait_for(what: str, store: Path, driver: subprocess.Popen) -> None:
    deadline = time.monotonic() + 500
    while not list(store.glob(what)):
        assert driver.poll() is None, driver.stderr.read().decode()[-2000:]  # ty: ignore
        assert time.monotonic() < deadline, f"no {what} in {store}"
        time.sleep(0.05)


def test_a_lost_worker_and_a_lost_node_change_nothing(
    nodes: TwoNodes, tmp_path: Path, tiny_lit: str
) -> None:
    straight = train(Store(UPath(tmp_path / "straight")), tiny_lit, train_workers=0)

    store = tmp_path / "killed"
    environment = os.environ | {"RAY_ADDRESS": nodes.address, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.chaos.small_training", str(store), tiny_lit]
    driver = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    _wait_for("lens/*/checkpoints/checkpoint_*", store, driver)
    workers = nodes.workers("ray::RayTrainWorker")
    assert len(workers) == 2
    workers[0].send_signal(signal.SIGKILL)
    time.sleep(5)
    assert driver.poll() is None, "the run had ended before the node was lost"
    nodes.lose_a_node()
    _, said = driver.communicate(timeout=400)
    assert driver.returncode == 0, said.decode()[-3000:]
    assert b"training goes on at step" in said  # Ray Train itself gave up

    (found,) = [a for a in Store(UPath(store)).artifacts() if a.manifest.step == "lens"]
    losses = [[point["loss"] for point in read_curves(made).train] for made in (straight, found)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    weights = [load_file(str(made.path(LENS_FILE))) for made in (straight, found)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-3, rtol=0, msg=name)

"""A Ray cluster of two nodes on this machine, one of which can be lost."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster


class TwoNodes:
    """A head and a node that comes and goes."""

    def __init__(self, cpus: int) -> None:
        self.node: dict[str, Any] = {"num_cpus": cpus, "object_store_memory": 80 * 1024**2}
        self.cluster = Cluster(initialize_head=True, head_node_args=self.node)
        self.second = self.cluster.add_node(**self.node)

    @property
    def address(self) -> str:
        return self.cluster.address

    def lose_a_node(self) -> None:
        """Its raylet dies, and with it its workers."""
        self.cluster.remove_node(self.second, allow_graceful=False)

    def replace_a_node(self) -> None:
        """A node is lost and another one comes."""
        self.lose_a_node()
        self.second = self.cluster.add_node(**self.node)

    def workers(self, title: str) -> list[psutil.Process]:
        """Ray's workers on both nodes whose title begins so."""
        nodes = self.cluster.list_all_nodes()
        raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
        children = [child for pid in raylets for child in psutil.Process(pid).children()]
        return [child for child in children if _title(child).startswith(title)]


@contextmanager
def two_nodes(cpus: int) -> Generator[TwoNodes]:
    """The cluster, of nodes with so many CPUs, until the block is left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_worker_niceness", "0")  # else whatever else runs comes first
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        made = TwoNodes(cpus)
        try:
            yield made
        finally:
            made.cluster.shutdown()


def _title(process: psutil.Process) -> str:
    try:
        return process.cmdline()[0]
    except (psutil.Error, IndexError):
        return ""

"""Joins a cluster and asks one of its workers for the code and the variables that it has."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ray
from ray.cluster_utils import Cluster

from pipelines.execution import worker_env
from pipelines.execution.cluster import connect
from pipelines.execution.runtime import Resources


def _sent() -> tuple[str, str, str]:
    travelled = importlib.import_module("travelling").WHERE
    token = "a token" if "VITLENS_TOKEN" in os.environ else "no token"
    return travelled, os.environ.get("VITLENS_LOG", ""), token


def main() -> None:
    os.environ["RAY_AUTH_MODE"] = "disabled"  # the cluster is this process's own
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "travelling")
        package.mkdir()
        (package / "__init__.py").write_text('WHERE = "travelled"\n')
        sys.path.append(folder)  # of this process alone
        importlib.import_module("travelling")
        os.environ |= {"RAY_ADDRESS": cluster.address, "VITLENS_LOG": "json"}
        os.environ["VITLENS_TOKEN"] = "x" * 16
        packages = (*worker_env._PACKAGES, sys.modules["travelling"])
        with patch.object(worker_env, "_PACKAGES", packages):
            connect(Resources(cpus=2, render_workers=1, encode_workers=1))
        task: Any = ray.remote(_sent)
        print("sent:", ", ".join(ray.get(task.remote())))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()

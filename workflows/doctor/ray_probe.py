"""ray_probe: joins or starts Ray as a run does, and prints what it has, as JSON.

A process of its own: what Ray prints, and a Ray that hangs, stays out of the doctor's.
"""

from __future__ import annotations

import json
import sys

from pipelines.execution.cluster import connect
from pipelines.execution.runtime import Resources


def main() -> None:
    """Connect, run a task, and print nodes and resources."""
    import ray

    connect(Resources(cpus=1, object_store_mb=80))

    @ray.remote(num_cpus=0)  # a cluster that is busy answers too
    def answer() -> bool:
        return True

    ray.get(answer.remote(), timeout=40)
    alive = [node for node in ray.nodes() if node["Alive"]]
    total = ray.cluster_resources()
    told = {"nodes": len(alive), "cpus": total.get("CPU", 0), "gpus": total.get("GPU", 0)}
    sys.stdout.write(json.dumps({**told, "version": ray.__version__}) + "\n")


if __name__ == "__main__":
    main()

"""ray_probe: reaches Ray as a run does, and prints what it has, as JSON.

A process of its own: what Ray prints, and a Ray that hangs, stays out of the doctor's.
"""

from __future__ import annotations

import json
import sys

from pipelines.execution.cluster import connect
from pipelines.execution.runtime import Resources


def main() -> None:
    """Ask the server of jobs that an argument names, or else join or start Ray."""
    import ray

    told = _jobs(sys.argv[1]) if len(sys.argv) > 1 else _task()
    sys.stdout.write(json.dumps({**told, "version": ray.__version__}) + "\n")


def _jobs(dashboard: str) -> dict[str, float]:
    """Ask for the list of jobs, which needs the cluster's token."""
    from ray.job_submission import JobSubmissionClient

    return {"jobs": len(JobSubmissionClient(dashboard).list_jobs())}


def _task() -> dict[str, float]:
    """Join the cluster at RAY_ADDRESS or start a local Ray, and run a task there."""
    import ray

    connect(Resources(cpus=1, object_store_mb=80))

    @ray.remote(num_cpus=0)  # a cluster that is busy answers too
    def answer() -> bool:
        return True

    ray.get(answer.remote(), timeout=40)
    alive = [node for node in ray.nodes() if node["Alive"]]
    total = ray.cluster_resources()
    return {"nodes": len(alive), "cpus": total.get("CPU", 0), "gpus": total.get("GPU", 0)}


if __name__ == "__main__":
    main()

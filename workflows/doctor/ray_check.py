"""ray_check: whether a run gets a Ray: the cluster at RAY_ADDRESS, or a local one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from pipelines.execution.cluster import ADDRESS, is_local
from pipelines.store.home import Home
from vitlens_core.errors import TransientError
from workflows.doctor.finding import Finding
from workflows.places import require_ray_answer

_LIMIT_S = 75.0
_OF_CLUSTER = (
    "use the cluster's own releases of Ray and Python, and its token (RAY_AUTH_TOKEN_PATH)"
)
_OF_LOCAL = "free memory and /dev/shm, or name a cluster in RAY_ADDRESS"


def check_ray(home: Home) -> Finding:
    """Join or start Ray in a process of its own, and run a task there."""
    address = os.environ.get(ADDRESS, "")
    try:
        require_ray_answer(address)
    except TransientError as error:
        return Finding("ray", "failed", str(error), "")
    where = "a local Ray starts" if is_local() else f"the cluster at {address}"
    mend = _OF_LOCAL if is_local() else _OF_CLUSTER
    command = [sys.executable, "-m", "workflows.doctor.ray_probe"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding("ray", "failed", f"{where}: no task was run in {_LIMIT_S:.0f} s", mend)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return Finding("ray", "failed", f"{where}: {reason[:300]}", mend)
    told = json.loads(lines[-1])
    found = f"{where}: Ray {told['version']}, a task was run"
    if not is_local():
        found += f", {told['nodes']} nodes, {told['cpus']:g} CPUs, {told['gpus']:g} GPUs"
    return Finding("ray", "ok", found)

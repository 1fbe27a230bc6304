"""ray_check: whether a run gets its Ray: a cluster that it joins or is a job of, or a local one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from pipelines.execution.cluster import ADDRESS
from pipelines.store.home import Home
from pipelines.store.text import redacted
from vitlens_core.errors import TransientError
from workflows.doctor.finding import Finding
from workflows.places import require_ray_answer

DASHBOARD = "VITLENS_RAY_DASHBOARD"  # where Dagster submits runs as jobs: infra/config/dagster.yaml
_LIMIT_S = 75.0
_OF_CLUSTER = (
    "use the cluster's own releases of Ray and Python, and its token (RAY_AUTH_TOKEN_PATH)"
)
_OF_JOBS = f"check {DASHBOARD}, that Ray's head runs, and its token (RAY_AUTH_TOKEN_PATH)"
_OF_LOCAL = "free memory and /dev/shm, or name a cluster in RAY_ADDRESS"


def check_ray(home: Home) -> Finding:
    """Reach Ray in a process of its own: ask for its jobs, or run a task there."""
    address, dashboard = os.environ.get(ADDRESS, ""), os.environ.get(DASHBOARD, "")
    if address:
        try:
            require_ray_answer(address)
        except TransientError as error:
            return Finding("ray", "failed", str(error), "")
        return _reached(f"the cluster at {address}", _OF_CLUSTER)
    if dashboard:
        return _reached(f"Ray's jobs at {redacted(dashboard)}", _OF_JOBS, dashboard)
    return _reached("a local Ray starts", _OF_LOCAL)


def _reached(where: str, mend: str, *arguments: str) -> Finding:
    command = [sys.executable, "-m", "workflows.doctor.ray_probe", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding("ray", "failed", f"{where}: no answer in {_LIMIT_S:.0f} s", mend)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return Finding("ray", "failed", f"{where}: {reason[:300]}", mend)
    told = json.loads(lines[-1])
    found = ", ".join(f"{told[name]:g} {name}" for name in _SHOWN if name in told)
    return Finding("ray", "ok", f"{where}: Ray {told['version']}, {found}")


_SHOWN = ("nodes", "cpus", "gpus", "jobs")

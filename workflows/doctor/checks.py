"""checks: the table of checks, and how they are carried out side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from queue import Empty, Queue
from threading import Thread

from pipelines.store.home import Home
from pipelines.store.text import redacted
from vitlens_core.errors import VitlensError
from workflows.doctor import machine, services
from workflows.doctor.finding import Finding
from workflows.doctor.ray_check import check_ray

Check = Callable[[Home], Finding]
LIMIT_S = 90.0
# In the order in which they are shown; a check may raise, and the mend is then its entry's.
CHECKS: Mapping[str, tuple[Check, str]] = {
    "versions": (machine.check_versions, "pip install 'vitlens[workflows]'"),
    "space": (machine.check_space, "name a folder that exists in VITLENS_HOME and VITLENS_STORE"),
    "gl": (machine.check_gl, "apt-get install libegl1 libgl1 libgl1-mesa-dri"),
    "gpu": (machine.check_gpu, "restart the machine or container that lost its driver"),
    "sandbox": (machine.check_sandbox, ""),
    "store": (services.check_store, "check VITLENS_STORE, AWS_ENDPOINT_URL and the keys"),
    "tracking": (services.check_tracking, "check MLFLOW_TRACKING_URI, or start the server"),
    "ray": (check_ray, ""),
    "dagster": (services.check_dagster, "check dagster.yaml and that its database answers"),
    "notices": (services.check_notices, "check the file that VITLENS_NOTICES names"),
}


def run_checks(
    home: Home, checks: Mapping[str, tuple[Check, str]] = CHECKS, limit_s: float = LIMIT_S
) -> list[Finding]:
    """Carry out every check in a thread of its own, and return what they found, in order.

    Args:
        limit_s: what has not answered by then [s] is reported as failed; its thread ends with
            the process.
    """
    found: dict[str, Finding] = {}
    answers: Queue[Finding] = Queue()
    for name, (check, mend) in checks.items():
        work = (answers, name, check, mend, home)
        Thread(target=_carry_out, args=work, name=name, daemon=True).start()
    deadline = time.monotonic() + limit_s
    while len(found) < len(checks):
        try:
            finding = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        found[finding.check] = finding
    late = f"no answer within {limit_s:g} s"
    return [
        found.get(name) or Finding(name, "failed", late, mend) for name, (_, mend) in checks.items()
    ]


def _carry_out(answers: Queue[Finding], name: str, check: Check, mend: str, home: Home) -> None:
    try:
        finding = check(home)
    except VitlensError as error:  # says itself what to do
        finding = Finding(name, "failed", str(error), "")
    except Exception as error:  # any error of any library is what was found
        finding = Finding(name, "failed", f"{type(error).__name__}: {error}"[:500], mend)
    answers.put(replace(finding, found=redacted(finding.found)))

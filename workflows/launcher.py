"""launcher: submits Dagster's runs to Ray, and waits while Ray's head is being replaced.

dagster-ray's own launcher fails a run at once whose submission finds no head, and ends a running
one whose state cannot be read. `infra/config/dagster.yaml` names this one in its place.
"""

from __future__ import annotations

import logging
import re

import dagster as dg
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster_ray import RayRunLauncher
from ray.job_submission import JobSubmissionClient
from tenacity import Retrying, before_sleep_log, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_exponential

_LOG = logging.getLogger("dagster.workflows.launcher")
_WAIT_S = 600.0  # a node and its image take minutes to come; below Dagster's start_timeout_seconds
_LONGEST_PAUSE_S = 15.0
# What the client says of answers of a head that starts, or is overloaded: nothing is known.
_ILL = re.compile(r"status code (429|5\d\d)\b")


class PatientRayRunLauncher(RayRunLauncher):
    """A launcher whose runs wait for Ray's head, for ten minutes at the most."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Submit a run once Ray's head answers.

        Raises:
            OSError: there was none within ten minutes.
            RuntimeError: what answered is no head of Ray.
        """
        waiting = Retrying(
            retry=retry_if_exception_type((OSError, RuntimeError)),
            stop=stop_after_delay(_WAIT_S),
            wait=wait_exponential(max=_LONGEST_PAUSE_S),
            before_sleep=before_sleep_log(_LOG, logging.WARNING),
            reraise=True,
        )
        waiting(self._look)
        super().launch_run(context)

    def _look(self) -> None:
        """Ask for the version (`OSError`, `RuntimeError`): to submit twice might start two jobs."""
        client: JobSubmissionClient = self.client
        client.get_version()

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return the state of a run's job; one that cannot be read now is asked again later."""
        found = super().check_run_worker_health(run)
        if found.status is WorkerStatus.UNKNOWN and _ILL.search(found.msg or ""):
            _LOG.warning("the state of run %s cannot be read: %s", run.run_id, found.msg)
            return CheckRunHealthResult(WorkerStatus.RUNNING, found.msg)
        return found

"""runner: a modality's Dagster job, run in this process against the instance the UI shows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import Enum

import dagster as dg

# Not exported by dagster: raised when a blocking check failed.
from dagster._core.errors import DagsterAssetCheckFailedError, DagsterExecutionInterruptedError

from workflows.definitions import LOG_FILE, defs
from workflows.home import Home
from workflows.settings import run_config


class Outcome(Enum):
    """How a run ended that did not fail."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"  # a gate failed


def execute(home: Home, modality: str, profile: str, overrides: Sequence[str]) -> Outcome:
    """Run every step; finished ones are reused.

    Raises:
        Whatever a step raised, as it raised it.
        KeyboardInterrupt: stopped by the user.
    """
    os.environ["DAGSTER_HOME"] = str(home.dagster())
    job = defs().resolve_job_def(modality)
    settings = {**run_config(modality, profile, overrides), "loggers": {LOG_FILE: {}}}
    with dg.DagsterInstance.get() as instance:
        try:
            job.execute_in_process(settings, instance, tags={"vitlens/from": "command line"})
        except DagsterAssetCheckFailedError:
            return Outcome.CHALLENGER
        except DagsterExecutionInterruptedError as error:
            raise KeyboardInterrupt from error
    return Outcome.CHAMPION

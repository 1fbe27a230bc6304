"""definitions: Dagster's definitions of every folder of `workflows/modalities`.

    dagster dev -m workflows.definitions

A new folder is a new workflow.
"""

from __future__ import annotations

import logging
from pathlib import Path

import dagster as dg

import workflows.modalities
from workflows.alerts import failed_runs
from workflows.artifact_io import ArtifactIOManager
from workflows.components import ARTIFACTS
from workflows.settings import RESOURCE, RunSettings
from workflows.workplace import RESOURCE as WORKPLACE
from workflows.workplace import present

LOG_FILE = "log_file"


@dg.logger
def log_file(context: dg.InitLoggerContext) -> logging.Logger:
    """Return a logger of Python's logging, which the command line writes to the run's log."""
    logger = logging.getLogger("vitlens.dagster")
    logger.setLevel(logging.DEBUG)
    return logger


@dg.definitions
def defs() -> dg.Definitions:
    tree = dg.ComponentTree.from_module(
        defs_module=workflows.modalities, project_root=Path(__file__).parents[1]
    )
    return dg.Definitions.merge(tree.build_defs(), shared())


def shared() -> dg.Definitions:
    """Return the resources, loggers, executor and alerts that all workflows share."""
    return dg.Definitions(
        resources={
            RESOURCE: RunSettings.configure_at_launch(),
            ARTIFACTS: ArtifactIOManager(),
            WORKPLACE: dg.ResourceDefinition(lambda _: present()),
        },
        loggers={LOG_FILE: log_file},
        sensors=[failed_runs],
        executor=dg.in_process_executor,
    )

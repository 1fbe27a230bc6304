"""definitions: every folder of `workflows/modalities` as Dagster sees it.

    dagster dev -m workflows.definitions

A new folder is a new workflow.
"""

from __future__ import annotations

import logging
from pathlib import Path

import dagster as dg

import workflows.modalities
from workflows.artifact_io import ArtifactIOManager
from workflows.components import ARTIFACTS
from workflows.settings import RESOURCE, RunSettings
from workflows.workplace import RESOURCE as WORKPLACE
from workflows.workplace import Workplace

LOG_FILE = "log_file"


@dg.logger
def log_file(context: dg.InitLoggerContext) -> logging.Logger:
    """Python's own logging, which the command line sends to the run's log file."""
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
    """What all workflows need beside their own definitions."""
    return dg.Definitions(
        resources={
            RESOURCE: RunSettings.configure_at_launch(),
            ARTIFACTS: ArtifactIOManager(),
            WORKPLACE: dg.ResourceDefinition(lambda _: Workplace.from_environment()),
        },
        loggers={LOG_FILE: log_file},
        executor=dg.in_process_executor,
    )

"""Definitions for Dagster's own daemon: the workflow whose YAML lies at $VITLENS_TEST_WORKFLOW."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import yaml

from workflows.components import ModalityWorkflow
from workflows.definitions import shared


@dg.definitions
def defs() -> dg.Definitions:
    attributes = yaml.safe_load(Path(os.environ["VITLENS_TEST_WORKFLOW"]).read_text())
    return dg.Definitions.merge(
        dg.build_defs_for_component(ModalityWorkflow(**attributes)), shared()
    )

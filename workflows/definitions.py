"""definitions: every folder of `workflows/modalities` as Dagster sees it.

    dagster dev -m workflows.definitions
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

import workflows.modalities
from workflows.artifact_io import ArtifactIOManager
from workflows.components import ARTIFACTS
from workflows.settings import RESOURCE, RunSettings


@dg.definitions
def defs() -> dg.Definitions:
    tree = dg.ComponentTree.from_module(
        defs_module=workflows.modalities, project_root=Path(__file__).parents[1]
    )
    shared = dg.Definitions(
        resources={RESOURCE: RunSettings.configure_at_launch(), ARTIFACTS: ArtifactIOManager()},
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(tree.build_defs(), shared)

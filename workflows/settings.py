"""settings: what a Dagster run is told, in the launchpad as on the command line."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from pipelines.config import RunConfig
from pipelines.execution.runtime import Runtime
from pipelines.store.home import Home
from workflows.console import terminal
from workflows.processes import process_tag
from workflows.spec import DEFAULT_PROFILE, Workflow

RESOURCE = "settings"


class RunSettings(dg.ConfigurableResource):
    """The profile a run takes, and what it overrides in the modality it is for."""

    modality: str = Field("", description="whose settings the overrides change")
    profile: str = Field(DEFAULT_PROFILE, description="a profile of the modality's defs.yaml")
    overrides: list[str] = Field([], description="as `--set`: section.key=value, value in YAML")

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """State which process the run lives in, for `workflows.processes`."""
        if context.run and context.instance:
            context.instance.add_run_tags(context.run.run_id, process_tag())

    def config(self, workflow: Workflow) -> RunConfig:
        own = self.modality in ("", workflow.modality)
        return workflow.config(self.profile, self.overrides if own else ())

    def runtime(self, config: RunConfig) -> Runtime:
        return Runtime(Home.from_environment().store, config.resources, terminal())


def run_config(modality: str, profile: str, overrides: Sequence[str] = ()) -> dict:
    """Dagster's run config for these settings."""
    chosen = {"modality": modality, "profile": profile, "overrides": list(overrides)}
    return {"resources": {RESOURCE: {"config": chosen}}}

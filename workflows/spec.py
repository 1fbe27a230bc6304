"""spec: what a modality's `defs.yaml` states, readable without starting Dagster.

Reads     `workflows/modalities/<name>/defs.yaml`.
Promises  the command line and the Dagster component see the same attributes and settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipelines.config import RunConfig, load_run_config
from pipelines.flow import FlowStep, steps
from vitlens_core.errors import ConfigError, unknown

MODALITIES = Path(__file__).parent / "modalities"
DEFAULT_PROFILE = "demo"
_SHORTEST_S = 30  # between two looks at a source


class Automation(BaseModel):
    """What the workflow does by itself, once somebody switches it on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = DEFAULT_PROFILE


class Schedule(Automation):
    """When it runs."""

    cron: str
    timezone: str = Field("UTC", description="of the cron's hours, as Europe/Zurich")


class Sensor(Automation):
    """How often it looks whether the source has changed; a change that has settled is run."""

    every_s: int = 600

    # Not `Field(ge=…)`: Dagster's components take plain annotations only.
    @field_validator("every_s")
    @classmethod
    def _check_pause(cls, every_s: int) -> int:
        if every_s < _SHORTEST_S:
            raise ValueError(f"expected {_SHORTEST_S} s or more, found {every_s}")
        return every_s


class Pieces(Automation):
    """Into how many ranges of shards the data set is divided, to be built ahead of a run."""

    number: int

    @field_validator("number")
    @classmethod
    def _check_number(cls, number: int) -> int:
        if number < 1:
            raise ValueError(f"expected one piece or more, found {number}")
        return number


class Workflow(BaseModel):
    """A modality's workflow: its settings by profile, its gates, what starts it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str = Field(description="a module of vitlens_core.modalities")
    description: str
    base: dict[str, object] = Field(default_factory=dict, description="what all profiles share")
    profiles: dict[str, dict[str, object]] = Field(description="settings by name, over the base")
    gates: dict[str, dict[str, object]] = Field(
        description="name → settings; `kind` names a module of pipelines.registry.gates"
    )
    schedule: Schedule | None = None
    sensor: Sensor | None = None
    pieces: Pieces | None = None
    foundation_of: str | None = Field(
        None, description="workflow whose foundation, so whose embedding space, this one shares"
    )

    @model_validator(mode="after")
    def _check_profiles(self) -> Self:
        for automation in (self.schedule, self.sensor, self.pieces):
            if automation and automation.profile not in self.profiles:
                mistake = unknown("profile", automation.profile, self.profiles)
                raise ConfigError(f"{type(automation).__name__.lower()}.profile: {mistake}")
        return self

    @property
    def steps(self) -> tuple[FlowStep, ...]:
        """The workflow's own steps, in order."""
        return steps(
            from_source="source" in self.base, shares_foundation=self.foundation_of is not None
        )

    @property
    def step_names(self) -> tuple[str, ...]:
        return tuple(step.name for step in self.steps)

    def config(self, profile: str, overrides: Sequence[str] = ()) -> RunConfig:
        """The checked settings of one run (`ConfigError` names the choices)."""
        if profile not in self.profiles:
            raise ConfigError(unknown("profile", profile, self.profiles))
        base = {**self.base, "gates": self.gates}
        config = load_run_config(self.modality, base, self.profiles[profile], overrides)
        if config.source is not None and "source" not in self.base:
            raise ConfigError(
                f"source: the workflow of {self.modality} renders objects; state a source in the "
                "`base` of its defs.yaml to read a data set instead"
            )
        if (
            self.foundation_of
            and config.foundation.model_fields_set
            and not (config.foundation.has_teacher)
        ):
            raise ConfigError(
                f"foundation: that of {self.modality} is {self.foundation_of}'s; set it there, or "
                "name a lens that teaches (models:/…)"
            )
        return config


def modality_names() -> list[str]:
    """The modalities that have a workflow."""
    return sorted(path.parent.name for path in MODALITIES.glob("*/defs.yaml"))


def load_workflow(modality: str) -> Workflow:
    """The workflow of a modality; `ConfigError` names those that exist."""
    if modality not in modality_names():
        raise ConfigError(unknown("modality", modality, modality_names()))
    text = (MODALITIES / modality / "defs.yaml").read_text()
    return Workflow.model_validate(yaml.safe_load(text)["attributes"])

"""spec: reads a modality's `defs.yaml` without starting Dagster.

Reads     `workflows/modalities/<name>/defs.yaml`.
Promises  the command line and the Dagster component see the same attributes and settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipelines.config import RunConfig, load_run_config, merged, parse_override
from pipelines.flow import SHARED, FlowStep, is_rendered, left_out, steps
from pipelines.foundation.step import FoundationConfig
from pipelines.lens.token_counts import check_counts
from vitlens_core.errors import ConfigError, unknown
from workflows.modalities import FOLDER, modality_names
from workflows.recipes import recipe_profiles

DEFAULT_PROFILE = "demo"
_SHORTEST_S = 30  # between two evaluations of a sensor; each may list a whole data set


class Automation(BaseModel):
    """What starts the workflow without a person, once somebody switches it on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = DEFAULT_PROFILE

    @classmethod
    def name_in(cls, modality: str) -> str:
        """Return its name in Dagster: `thermal_schedule`."""
        return f"{modality}_{cls.__name__.lower()}"


class Schedule(Automation):
    """When the workflow runs."""

    cron: str
    timezone: str = Field("UTC", description="time zone of `cron`, such as Europe/Zurich")
    fresh_for_h: int = Field(
        192, description="hours for which a champion counts as fresh; longer than between two runs"
    )

    @field_validator("fresh_for_h")
    @classmethod
    def _check_hours(cls, fresh_for_h: int) -> int:
        if fresh_for_h < 1:
            raise ValueError(f"expected one hour or more, found {fresh_for_h}")
        return fresh_for_h

    def __str__(self) -> str:
        return f"{self.cron} {self.timezone}, profile {self.profile}"


class Sensor(Automation):
    """How often the sensor checks whether the source has changed, in seconds."""

    every_s: int = 600

    # Not `Field(ge=…)`: Dagster's components take plain annotations only.
    @field_validator("every_s")
    @classmethod
    def _check_pause(cls, every_s: int) -> int:
        if every_s < _SHORTEST_S:
            raise ValueError(f"expected {_SHORTEST_S} s or more, found {every_s}")
        return every_s

    def __str__(self) -> str:
        return f"looks every {self.every_s} s, profile {self.profile}"


class Pieces(Automation):
    """The number of ranges of shards into which a data set built ahead of a run is divided."""

    number: int

    @field_validator("number")
    @classmethod
    def _check_number(cls, number: int) -> int:
        if number < 1:
            raise ValueError(f"expected one or more pieces, found {number}")
        return number


class Workflow(BaseModel):
    """A modality's workflow: its settings by profile, its gates, its schedule and sensor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str = Field(description="a module of vitlens_core.modalities")
    description: str
    # `Any`, not `object`: Dagster's components resolve no other type of unknown values.
    base: dict[str, Any] = Field(default_factory=dict, description="settings of all profiles")
    profiles: dict[str, dict[str, Any]] = Field(description="settings by name, over the base")
    gates: dict[str, dict[str, Any]] = Field(
        description="name → settings; `kind` names a module of pipelines.registry.gates"
    )
    schedule: Schedule | None = None
    sensor: Sensor | None = None
    pieces: Pieces | None = None
    owners: list[str] = Field([], description="whom to ask: e-mail addresses, or team:NAME")
    foundation_of: str | None = Field(
        None, description="workflow whose foundation and embedding space this one shares"
    )

    @model_validator(mode="after")
    def _check_profiles(self) -> Self:
        for automation in (self.schedule, self.sensor, self.pieces):
            if automation and automation.profile not in self.all_profiles:
                mistake = unknown("profile", automation.profile, self.all_profiles)
                raise ConfigError(f"{type(automation).__name__.lower()}.profile: {mistake}")
        return self

    @property
    def all_profiles(self) -> dict[str, dict[str, Any]]:
        """Return the published recipes of the modality, and the workflow's own profiles.

        A profile of its own may start from a recipe: it names it under `recipe`.
        """
        published = recipe_profiles(self.modality, self.profiles)
        own = {}
        for name, stated in self.profiles.items():
            settings = dict(stated)
            recipe = settings.pop("recipe", None)
            if recipe is not None and recipe not in published:
                raise ConfigError(f"profile {name}: {unknown('recipe', recipe, published)}")
            own[name] = merged([published[recipe] if recipe else {}, settings])
        return {**own, **published}

    @property
    def steps(self) -> tuple[FlowStep, ...]:
        """Return the workflow's own steps, in order."""
        return steps(
            renders=is_rendered(self.modality),
            shares_foundation=self.foundation_of is not None,
        )

    @property
    def step_names(self) -> tuple[str, ...]:
        return tuple(step.name for step in self.steps)

    def config(self, profile: str, overrides: Sequence[str] = ()) -> RunConfig:
        """Return the checked settings of one run (`ConfigError` names the choices)."""
        profiles = self.all_profiles
        if profile not in profiles:
            raise ConfigError(unknown("profile", profile, profiles))
        base = {**self._foundation_of_another(profile, overrides), **self.base, "gates": self.gates}
        config = load_run_config(self.modality, base, profiles[profile], overrides)
        if self.shares_foundation(config) and config.foundation.model_fields_set:
            raise ConfigError(
                f"foundation: {self.modality} shares that of {self.foundation_of}; set it there, "
                "or name a lens that teaches (teachers.<name>=models:/…)"
            )
        # The foundation of lenses that teach is theirs, and stated nowhere here.
        if config.lens.train.token_weight and not config.teachers:
            check_counts(config.tower(), self._foundation(config, profile))
        return config

    def _foundation(self, config: RunConfig, profile: str) -> FoundationConfig:
        """Return the settings of the foundation that a run without teachers uses."""
        if self.foundation_of and self.shares_foundation(config):
            return load_workflow(self.foundation_of).config(profile).foundation
        return config.foundation

    def shares_foundation(self, config: RunConfig) -> bool:
        """Whether a run with these settings uses another workflow's foundation."""
        return self.foundation_of is not None and SHARED not in left_out(config)

    def _foundation_of_another(self, profile: str, overrides: Sequence[str]) -> dict[str, Any]:
        """Return the foundation's settings for a run from a data set, which fits its own: those of
        the workflow that it is shared with otherwise."""
        if not self.foundation_of or not is_rendered(self.modality):
            return {}
        own = merged([self.base, self.all_profiles[profile], *map(parse_override, overrides)])
        if own.get("source") is None:
            return {}
        other = load_workflow(self.foundation_of)
        theirs = merged([other.base, other.all_profiles.get(profile, {})])
        return {"foundation": theirs["foundation"]} if "foundation" in theirs else {}


def load_workflow(modality: str) -> Workflow:
    """Return the workflow of a modality (`ConfigError` names those that exist)."""
    if modality not in modality_names():
        raise ConfigError(unknown("modality", modality, modality_names()))
    text = (FOLDER / modality / "defs.yaml").read_text()
    return Workflow.model_validate(yaml.safe_load(text)["attributes"])

"""switches: turns schedules and sensors on and off, where Dagster's daemon and UI read it.

Written into Dagster's history itself: `dagster schedule start` loads the definitions in a code
server first, which takes half a minute and prints a thousand warnings.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import dagster as dg

# Dagster exports none of them.
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorData,
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

from vitlens_core.errors import ConfigError
from workflows.environment import CODE_LOCATION
from workflows.modalities import modality_names
from workflows.spec import Schedule, Sensor, Workflow, load_workflow

_REPOSITORY = "__repository__"  # Dagster's name of definitions that name none
_NOWHERE = "code"  # the daemon goes by the name of the location, not by its address


@dataclass(frozen=True)
class Switch:
    """The schedule or the sensor of a workflow."""

    workflow: Workflow
    automation: Schedule | Sensor

    @property
    def kind(self) -> InstigatorType:
        is_schedule = isinstance(self.automation, Schedule)
        return InstigatorType.SCHEDULE if is_schedule else InstigatorType.SENSOR

    def is_on(self, instance: dg.DagsterInstance) -> bool:
        state = self._state(instance)
        return state is not None and state.status is InstigatorStatus.RUNNING

    def turn(self, instance: dg.DagsterInstance, *, on: bool) -> None:
        """Switch it on or off; the daemon sees it at its next look."""
        if self.is_on(instance) is on:
            return
        before = self._state(instance)
        status = InstigatorStatus.RUNNING if on else InstigatorStatus.STOPPED
        data = self._data(before) if on or before is None else before.instigator_data
        state = InstigatorState(self._origin, self.kind, status, data)
        if before is None:
            instance.add_instigator_state(state)
        else:
            instance.update_instigator_state(state)

    @property
    def _origin(self) -> RemoteInstigatorOrigin:
        code = GrpcServerCodeLocationOrigin(  # ty: ignore[abstract-class-instantiation]
            "localhost", socket=_NOWHERE, location_name=CODE_LOCATION
        )
        name = self.automation.name_in(self.workflow.modality)
        return RemoteInstigatorOrigin(RemoteRepositoryOrigin(code, _REPOSITORY), name)

    def _state(self, instance: dg.DagsterInstance) -> InstigatorState | None:
        any_state = InstigatorState(
            self._origin, self.kind, InstigatorStatus.STOPPED, self._data(None)
        )
        return instance.get_instigator_state(self._origin.get_id(), any_state.selector_id)

    def _data(self, before: InstigatorState | None) -> InstigatorData:
        """Return what the daemon goes by from now on; a sensor keeps what it has seen."""
        now = time.time()
        if isinstance(self.automation, Schedule):
            return ScheduleInstigatorData(self.automation.cron, now)
        if before and isinstance(before.instigator_data, SensorInstigatorData):
            return before.instigator_data.with_sensor_start_timestamp(now)
        return SensorInstigatorData(
            min_interval=self.automation.every_s,
            last_sensor_start_timestamp=now,
            sensor_type=SensorType.STANDARD,
        )


def switches(kind: type[Schedule | Sensor], modality: str | None = None) -> list[Switch]:
    """Return the schedule or sensor of a modality's workflow, or those of all.

    Raises:
        ConfigError: no such modality, or its workflow has none.
    """
    field = kind.__name__.lower()
    workflows = [load_workflow(name) for name in ([modality] if modality else modality_names())]
    found = [Switch(w, declared) for w in workflows if (declared := getattr(w, field)) is not None]
    if modality and not found:
        raise ConfigError(f"{modality} has no {field}: state one in its defs.yaml")
    return found

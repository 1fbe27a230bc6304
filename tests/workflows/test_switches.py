"""`vitlens schedule` and `vitlens sensor`: one line each, and what Dagster's daemon then finds."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import (
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from dagster._core.workspace.load import location_origins_from_yaml_paths

from pipelines.store.home import Home
from tests.workflows.stage import DEFINITIONS, Stage
from workflows.commands import ui
from workflows.environment import CODE_LOCATION
from workflows.exit_codes import MISTAKE
from workflows.modalities import modality_names
from workflows.processes import history
from workflows.spec import Schedule, Sensor, load_workflow
from workflows.switches import switches


@pytest.fixture
def kept(stage: Stage) -> Home:
    return stage.workplace.home


def test_every_schedule_and_sensor_is_one_line(stage: Stage) -> None:
    for command in ("schedule", "sensor"):
        shown = stage.vitlens(command)
        lines = shown.output.splitlines()
        assert shown.exit_code == 0
        assert [line.split()[0] for line in lines] == modality_names()
        assert all(line.split()[1] == "off" for line in lines)
    assert "0 3 * * 0 UTC, profile full" in stage.vitlens("schedule", "point_cloud").output
    assert "looks every 600 s" in stage.vitlens("sensor", "point_cloud").output


def test_what_is_switched_on_stays_on_until_it_is_switched_off(stage: Stage) -> None:
    assert stage.vitlens("schedule", "point_cloud", "on").output.split()[1] == "on"
    assert stage.vitlens("schedule", "point_cloud").output.split()[1] == "on"
    assert stage.vitlens("sensor", "point_cloud").output.split()[1] == "off"
    assert stage.vitlens("schedule", "point_cloud", "off").output.split()[1] == "off"
    assert stage.vitlens("schedule", "point_cloud").output.split()[1] == "off"


def test_what_would_stop_its_run_is_said(stage: Stage) -> None:
    shown = stage.vitlens("schedule", "thermal", "on")
    assert shown.exit_code == 0, "a data set may come later"
    assert "its run would fail now: source.root: no folder /data/LLVIP" in shown.output


def test_a_mistake_names_the_choices(stage: Stage) -> None:
    unknown = stage.vitlens("schedule", "termal", "on")
    assert (unknown.exit_code, "thermal" in unknown.output) == (MISTAKE, True)
    assert stage.vitlens("schedule", "thermal", "maybe").exit_code == MISTAKE


def test_the_daemon_knows_it_whichever_server_has_the_definitions(
    kept: Home, tmp_path: Path
) -> None:
    """It goes by location, repository and name; the socket is another one at each start."""
    [switch] = switches(Schedule, "thermal")
    with history(kept) as instance:
        switch.turn(instance, on=True)
        [state] = instance.all_instigator_state()
    folder = tmp_path / "of-this-start"
    folder.mkdir()
    [served] = location_origins_from_yaml_paths([str(ui.write_workspace(folder))])
    assert state.status is InstigatorStatus.RUNNING
    assert state.selector.location_name == served.location_name == CODE_LOCATION
    repository = DEFINITIONS.get_repository_def()
    assert state.selector.repository_name == repository.name
    assert repository.has_schedule_def(state.name)
    for sensor in switches(Sensor):
        assert repository.has_sensor_def(sensor.automation.name_in(sensor.workflow.modality))


def test_a_sensor_keeps_what_it_has_seen(kept: Home) -> None:
    [switch] = switches(Sensor, "thermal")
    with history(kept) as instance:
        switch.turn(instance, on=True)
        [state] = instance.all_instigator_state()
        seen = SensorInstigatorData(cursor="a state of the source", min_interval=600)
        instance.update_instigator_state(state.with_data(seen))
        switch.turn(instance, on=False)
        switch.turn(instance, on=True)
        [state] = instance.all_instigator_state()
    assert isinstance(state.instigator_data, SensorInstigatorData)
    assert state.instigator_data.cursor == "a state of the source"
    assert state.instigator_data.last_sensor_start_timestamp


def test_a_schedule_is_asked_from_now_on(kept: Home) -> None:
    """Times that passed while it was off are not made up for."""
    [switch] = switches(Schedule, "thermal")
    with history(kept) as instance:
        switch.turn(instance, on=True)
        [first] = instance.all_instigator_state()
        switch.turn(instance, on=True)
        [again] = instance.all_instigator_state()
        switch.turn(instance, on=False)
        switch.turn(instance, on=True)
        [later] = instance.all_instigator_state()
    assert first == again
    before, after = first.instigator_data, later.instigator_data
    assert isinstance(before, ScheduleInstigatorData)
    assert isinstance(after, ScheduleInstigatorData)
    assert before.start_timestamp is not None
    assert after.start_timestamp is not None
    assert after.start_timestamp > before.start_timestamp
    workflow = load_workflow("thermal")
    assert workflow.schedule is not None
    assert before.cron_schedule == workflow.schedule.cron


def test_the_history_is_that_of_the_home(kept: Home) -> None:
    with history(kept) as instance:
        assert isinstance(instance, dg.DagsterInstance)
        assert Path(instance.root_directory) == kept.root / "dagster"

"""alerts: who is told of which failed runs, and with which words."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest
import yaml

from tests.receivers import SECRET, receiving
from tests.workflows.stage import Stage
from vitlens_core.errors import ConfigError
from workflows.alerts import PAGE, failed_runs, notice_of
from workflows.retries import COMMAND_LINE, FROM


def failure(
    instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult
) -> dg.RunFailureSensorContext:
    """As the sensor is given a failed run."""
    [event] = [e for e in result.all_events if e.event_type_value == "PIPELINE_FAILURE"]
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    return dg.build_run_status_sensor_context("failed_runs", event, instance, run).for_run_failure()


def test_a_failed_run_is_told_with_its_step_and_reason(
    stage: Stage, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PAGE, "https://dagster.example.com/")
    stage.failure = ("targets", ConfigError("no such column; there are: label"))
    result = stage.materialise(instance)
    notice = notice_of(failure(instance, result))
    assert notice.event == "run_failed"
    assert notice.title == "point_cloud: a run failed in point_cloud__targets"
    assert "no such column; there are: label" in notice.text
    assert f"https://dagster.example.com/runs/{result.run_id}" in notice.text
    assert notice.facts["run"] == result.run_id
    assert notice.facts["user"]


def test_a_gate_that_failed_is_told_as_such(stage: Stage, instance: dg.DagsterInstance) -> None:
    stage.top1 = 0.5
    result = stage.materialise(instance, sets=("gates.times_chance.min=8",))
    notice = notice_of(failure(instance, result))
    assert notice.event == "gate_failed"
    assert "times_chance" in notice.text
    assert "the champion stays" in notice.text


@pytest.mark.parametrize(("tags", "number"), [({}, 1), ({FROM: COMMAND_LINE}, 0)])
def test_who_is_told_of_a_run_and_of_one_of_the_command_line(
    stage: Stage, tmp_path: Path, instance: dg.DagsterInstance, tags: dict[str, str], number: int
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    with receiving() as receiver:
        hook = {"kind": "webhook", "url": receiver.url, "secret_file": str(tmp_path / "secret")}
        (tmp_path / "notices.yaml").write_text(yaml.safe_dump([hook]))
        stage.failure = ("targets", ConfigError("https://user:a-password@example.com is wrong"))
        result = stage.materialise(instance)
        instance.add_run_tags(result.run_id, tags)
        failed_runs(failure(instance, result))
    assert len(receiver.taken) == number
    for _, body in receiver.taken:
        assert json.loads(body)["type"] == "run_failed"
        assert b"a-password" not in body

"""alerts: who is told of which failed runs, and with which words."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.storage.tags import WILL_RETRY_TAG

from infra.local.stack import CONFIG
from pipelines.registry.notices.base import Notice
from tests.receivers import SECRET, receiving
from tests.workflows.stage import DEFINITIONS, Stage
from vitlens_core.errors import ConfigError
from workflows.alerts import PAGE, failed_runs, notice_of
from workflows.retries import COMMAND_LINE, FROM, PARENT
from workflows.settings import USER_TAG


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


@pytest.mark.slow
def test_a_gate_that_failed_is_told_as_such(stage: Stage, instance: dg.DagsterInstance) -> None:
    stage.top1 = 0.5
    result = stage.materialise(instance, sets=("gates.times_chance.min=8",))
    notice = notice_of(failure(instance, result))
    assert notice.event == "gate_failed"
    assert "times_chance" in notice.text
    assert "the champion stays" in notice.text


# Dagster's page copies the tags of a run that is started again there.
@pytest.mark.parametrize(
    ("tags", "number"),
    [({}, 1), ({FROM: COMMAND_LINE}, 0), ({FROM: COMMAND_LINE, PARENT: "of a terminal"}, 1)],
)
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


@pytest.mark.slow
def test_a_long_error_leaves_room_for_what_to_do_and_no_part_of_a_password(
    stage: Stage, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PAGE, "https://dagster.example.com")
    for before in (0, 12, 24):  # so that it is cut in every part of an address
        words = "x" * before + " https://user:a-password@example.com" * 200
        stage.failure = ("targets", ConfigError(words))
        result = stage.materialise(instance)
        notice = notice_of(failure(instance, result))
        assert "a-pass" not in notice.text
        assert len(notice.text) < 3200
        assert "run it again" in notice.text
        assert notice.text.endswith(f"/runs/{result.run_id}")


@contextmanager
def of_a_team(folder: Path) -> Generator[dg.DagsterInstance]:
    """An instance that begins runs again as that of a team does (infra/config/dagster.yaml)."""
    shipped = yaml.safe_load((CONFIG / "dagster.yaml").read_text())["run_retries"]
    with dg.DagsterInstance.ephemeral(str(folder), settings={"run_retries": shipped}) as instance:
        yield instance


def ended(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Notice:
    """What is told of a run, by what the history has of it at this moment."""
    [event] = [
        record.dagster_event
        for record in instance.all_logs(run.run_id)
        if record.dagster_event and record.dagster_event.is_run_failure
    ]
    known = instance.get_run_by_id(run.run_id)
    assert known is not None
    context = dg.build_run_status_sensor_context("failed_runs", event, instance, known)
    return notice_of(context.for_run_failure())


def again(first: dg.DagsterRun, run: dg.DagsterRun) -> dict[str, str]:
    """The tags by which Dagster knows that runs belong together."""
    return {PARENT: run.run_id, "dagster/root_run_id": first.run_id}


LOST, STEP = RunFailureReason.UNEXPECTED_TERMINATION, RunFailureReason.STEP_FAILURE
NEVER = {"dagster/max_retries": "0"}


@pytest.mark.parametrize(
    ("before", "cause", "own", "begins"),
    [
        (0, LOST, {}, True),
        (1, LOST, {}, True),
        (2, LOST, {}, False),
        (0, None, {}, True),
        (0, STEP, {}, False),
        (0, STEP, {"dagster/retry_on_asset_or_op_failure": "true"}, True),
        (0, LOST, NEVER, False),
    ],
)
def test_a_notice_says_what_dagster_does_whenever_it_is_asked(
    tmp_path: Path,
    before: int,
    cause: RunFailureReason | None,
    own: dict[str, str],
    begins: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before Dagster has written the run's end, before its tag, and after it."""
    with of_a_team(tmp_path) as instance:
        job = DEFINITIONS.resolve_job_def("point_cloud")
        first = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=own)
        run = first
        for number in range(1, before + 1):
            run = instance.create_run_for_job(
                job,
                status=dg.DagsterRunStatus.STARTED,
                parent_run_id=run.run_id,
                root_run_id=first.run_id,
                tags={**own, **again(first, run), "dagster/retry_number": str(number)},
            )
        told: list[Notice] = []
        for owner, name in (
            (instance.run_storage, "handle_run_event"),
            (instance, "add_run_tags"),
        ):
            going_on = getattr(owner, name)

            def after(*given: object, going_on=going_on) -> None:
                told.append(ended(instance, run))
                going_on(*given)

            monkeypatch.setattr(owner, name, after)
        instance.report_run_failed(
            run, "gone", JobFailureData(error=None, failure_reason=cause) if cause else None
        )
        told.append(ended(instance, run))
        written = instance.get_run_by_id(run.run_id)
    assert written is not None
    will_retry = written.tags[WILL_RETRY_TAG] == "true"
    assert will_retry is begins
    assert len(told) == 3
    for notice in told:
        assert notice.facts["will_retry"] is will_retry
        assert ("Dagster begins it again by itself" in notice.text) is will_retry
        assert ("run it again" in notice.text) is not will_retry


def test_where_dagster_begins_nothing_again_nobody_is_told_so(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    stage.failure = ("targets", ConfigError("no such column"))
    notice = notice_of(failure(instance, stage.materialise(instance)))
    assert notice.facts["will_retry"] is False
    assert "run it again" in notice.text


@pytest.mark.parametrize(
    ("tags", "user"),
    [
        ({}, None),
        ({"dagster/schedule_name": "depth_schedule"}, "schedule depth_schedule"),
        ({USER_TAG: "ada"}, "ada"),
    ],
)
def test_a_run_that_died_before_it_began_names_whom_its_tags_name(
    instance: dg.DagsterInstance, tags: dict[str, str], user: str | None
) -> None:
    job = DEFINITIONS.resolve_job_def("point_cloud")
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING, tags=tags)
    instance.report_run_failed(run, "no place was found for it")
    notice = ended(instance, run)
    assert notice.facts["user"] == user
    assert notice.text.startswith("no place was found for it")

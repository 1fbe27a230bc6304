"""Who or what started a run: what its tags say, and what it records."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
import pytest

from pipelines.registry.tracking import code_revision, user
from tests.workflows.stage import DEFINITIONS, Stage
from workflows.retries import COMMAND_LINE, FROM, PARENT
from workflows.settings import REVISION_TAG, USER_TAG, run_config, starter

SCHEDULE = {"dagster/schedule_name": "depth_schedule"}
AGAIN = {PARENT: "0" * 8, "dagster/root_run_id": "0" * 8}
STARTERS = {
    "the command line": ({FROM: COMMAND_LINE}, "admin"),
    "a schedule": (SCHEDULE, "schedule depth_schedule"),
    "a sensor": ({"dagster/sensor_name": "depth_sensor"}, "sensor depth_sensor"),
    "Dagster's page": ({}, "Dagster"),
    "Dagster's page, by name": ({USER_TAG: "bob"}, "bob"),
    "a schedule that bob's tag is given to": ({**SCHEDULE, USER_TAG: "bob"}, "bob"),
    "Dagster, after a lost process": (
        {**SCHEDULE, **AGAIN, USER_TAG: "bob", "dagster/retry_number": "1"},
        "bob",
    ),
    "a person, after bob's run": ({**AGAIN, USER_TAG: "bob"}, "Dagster"),
    "a person, after a schedule's run": ({**AGAIN, **SCHEDULE}, "Dagster"),
    "a person, after a run of the command line": (
        {**AGAIN, FROM: COMMAND_LINE, USER_TAG: "bob"},
        "Dagster",
    ),
}


def begun(
    stage: Stage, instance: dg.DagsterInstance, **tags: str
) -> tuple[Mapping[str, str], list[str]]:
    """Run with these tags; return those of its end, and whom a step took for its user."""
    seen: list[str] = []
    stage.meanwhile["lens"] = lambda: seen.append(user())
    with stage.workplace.entered():
        result = DEFINITIONS.resolve_job_def("point_cloud").execute_in_process(
            run_config("point_cloud", "tiny"), instance, tags=tags
        )
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    return run.tags, seen


@pytest.mark.slow
def test_a_run_says_who_started_it_and_which_code_it_runs(
    stage: Stage, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("VITLENS_USER", "ada")
    tags, _ = begun(stage, instance)
    assert tags[USER_TAG] == "ada"
    assert tags.get(REVISION_TAG) == code_revision()


@pytest.mark.parametrize(("tags", "expected"), STARTERS.values(), ids=STARTERS)
def test_a_run_of_a_server_names_who_or_what_started_it_and_no_account_of_all(
    monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], expected: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray-head:6379")  # as Ray sets it where a run is a job
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.delenv("VITLENS_USER", raising=False)
    assert starter(tags) == expected
    if expected in ("admin", "Dagster"):
        monkeypatch.setenv("VITLENS_USER", "the team")
        assert starter(tags) == "the team"


@pytest.mark.parametrize("tags", [{}, {FROM: COMMAND_LINE}, {**AGAIN, USER_TAG: "bob"}])
def test_a_run_on_ones_own_machine_is_ones_own(
    monkeypatch: pytest.MonkeyPatch, tags: dict[str, str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("VITLENS_USER", "ada")
    assert starter(tags) == "ada"


def test_what_a_run_records_is_by_whom_its_tags_name(
    stage: Stage, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Champions, runs of MLflow and the page of a version ask `user` in a step."""
    monkeypatch.setenv("VITLENS_USER", "ada")
    tags, seen = begun(stage, instance, **SCHEDULE)
    assert tags[USER_TAG] == "schedule depth_schedule"
    assert seen == ["schedule depth_schedule"]
    assert user() == "ada"  # of the process that goes on


@pytest.mark.slow
def test_a_run_that_is_started_again_states_the_commit_that_it_runs(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    tags, _ = begun(stage, instance, **{REVISION_TAG: "of yesterday"})
    assert tags[REVISION_TAG] == (code_revision() or "of yesterday")


@pytest.mark.slow
def test_a_name_in_a_tag_steers_nothing(stage: Stage, instance: dg.DagsterInstance) -> None:
    tags, seen = begun(stage, instance, **{USER_TAG: "bob\0\x1b[31m\n"})
    assert seen == [tags[USER_TAG]] == ["bob��[31m�"]

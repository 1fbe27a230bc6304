"""Schedules and sensors: what starts a run, and what is said when none is started."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from pipelines.store.home import Home
from tests.workflows.stage import DEFINITIONS, Stage
from vitlens_core.errors import ConfigError
from workflows.automation import schedule_of, sensor_of
from workflows.environment import dagster_folder
from workflows.processes import PROCESS_TAG, process_tag
from workflows.settings import run_config
from workflows.spec import Schedule, Sensor, Workflow, load_workflow
from workflows.workplace import RESOURCE

JOB = dg.define_asset_job("any")


@pytest.fixture
def instance(tmp_path: Path, light_history: None) -> Iterator[dg.DagsterInstance]:
    """Kept on disk: schedules open it anew by its address."""
    with dg.DagsterInstance.from_config(str(dagster_folder(Home(tmp_path)))) as instance:
        yield instance


@pytest.fixture
def due(stage: Stage, instance: dg.DagsterInstance) -> Callable[[], Any]:
    """One evaluation of the schedule of point clouds."""
    return lambda: evaluated(stage, instance)


def evaluated(stage: Stage, instance: dg.DagsterInstance) -> Any:
    schedule = Schedule(cron="0 3 * * 0", profile="tiny")
    definition = schedule_of(load_workflow("point_cloud"), schedule, JOB)
    resources = {RESOURCE: stage.workplace}
    with dg.build_schedule_context(instance, resources=resources) as context:
        return definition(context)


def _skipped(decision: Any) -> str:
    assert isinstance(decision, dg.SkipReason), decision
    return decision.skip_message or ""


def _folders(stage: Stage) -> set[Path]:
    return set((stage.home / "artifacts").glob("*/*"))


def test_a_schedule_hands_its_profile_to_the_run(stage: Stage, due: Callable[[], Any]) -> None:
    decision = due()

    assert isinstance(decision, dg.RunRequest)
    assert decision.run_config == run_config("point_cloud", "tiny")
    assert stage.asked == [], "nothing was ever registered: no need to look"


def test_a_schedule_starts_nothing_while_its_result_is_current(
    stage: Stage, instance: dg.DagsterInstance, due: Callable[[], Any]
) -> None:
    stage.materialise(instance)
    made = _folders(stage)

    assert "vitlens-point_cloud version 1 is made of the present source" in _skipped(due())
    assert _folders(stage) == made
    assert len(stage.versions) == 1


def test_a_champion_that_is_found_to_be_current_is_fresh_again(
    stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "dagster" / "dagster.yaml").unlink()  # events on disk: the schedule adds one
    champion = dg.AssetKey(["point_cloud", "champion"])
    with dg.DagsterInstance.from_config(str(dagster_folder(Home(tmp_path)))) as instance:
        stage.materialise(instance)
        made = instance.fetch_materializations(champion, limit=9).records
        _skipped(evaluated(stage, instance))
        [newest, *older] = instance.fetch_materializations(champion, limit=9).records
    assert len(older) == len(made) == 1
    confirmed = newest.asset_materialization
    assert confirmed is not None
    assert confirmed.metadata["version"].value == 1


def test_a_champion_has_the_age_that_its_schedule_allows() -> None:
    graph = DEFINITIONS.resolve_asset_graph()
    policy = graph.get(dg.AssetKey(["point_cloud", "champion"])).freshness_policy
    hours = load_workflow("point_cloud").schedule
    assert hours is not None
    assert isinstance(policy, TimeWindowFreshnessPolicy)
    assert policy.fail_window.to_timedelta() == timedelta(hours=hours.fresh_for_h)
    with pytest.raises(ValueError, match="expected one hour or more"):
        Schedule(cron="0 3 * * 0", fresh_for_h=0)


def test_a_look_at_what_is_not_made_leaves_no_trace(
    stage: Stage, instance: dg.DagsterInstance, due: Callable[[], Any]
) -> None:
    stage.materialise(instance)
    made = _folders(stage)
    stage.top1 = 0.9  # enters every fingerprint of the stage

    assert isinstance(due(), dg.RunRequest)
    assert _folders(stage) == made


def test_a_step_that_was_removed_is_made_again(
    stage: Stage, instance: dg.DagsterInstance, due: Callable[[], Any]
) -> None:
    stage.materialise(instance)
    stage.received["lens"]["targets"].path("manifest.json").unlink()

    assert isinstance(due(), dg.RunRequest)


def test_a_version_that_was_never_promoted_is_not_current(
    stage: Stage, instance: dg.DagsterInstance, due: Callable[[], Any]
) -> None:
    """A run killed between registering and promoting."""
    stage.materialise(instance, *load_workflow("point_cloud").step_names)
    stage.materialise(instance, "challenger")

    assert [v.aliases for v in stage.versions] == [("challenger",)]
    assert isinstance(due(), dg.RunRequest)


def test_a_source_that_cannot_be_listed_is_left_to_the_run_to_report(
    stage: Stage, instance: dg.DagsterInstance, due: Callable[[], Any]
) -> None:
    stage.materialise(instance)
    stage.failure = ("objects", ConfigError("no mirror there"))

    assert isinstance(due(), dg.RunRequest)


def _start(instance: dg.DagsterInstance, process: str) -> dg.DagsterRun:
    """A run that states its process; `{}` in it is the run's id."""
    job = DEFINITIONS.resolve_job_def("point_cloud")
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    instance.add_run_tags(run.run_id, {PROCESS_TAG: process.format(run.run_id)})
    return run


def test_a_run_that_goes_on_is_not_overtaken(
    stage: Stage, instance: dg.DagsterInstance, due: Callable[[], Any]
) -> None:
    run = _start(instance, process_tag("{}")[PROCESS_TAG])

    assert f"run {run.run_id[:8]} of point_cloud is not finished yet" in _skipped(due())


@pytest.mark.parametrize("of_run", [" {}", ""], ids=["this release", "a former one"])
def test_a_run_whose_process_is_gone_holds_nothing_up(
    stage: Stage, instance: dg.DagsterInstance, due: Callable[[], Any], of_run: str
) -> None:
    host, pid, started_at, _ = process_tag("")[PROCESS_TAG].split(" ")
    elsewhere = _start(instance, f"not-{host} {pid} 1 {{}}")
    instance.report_run_canceled(elsewhere)
    killed = _start(instance, f"{host} {pid} {int(started_at) - 1}{of_run}")

    assert isinstance(due(), dg.RunRequest)
    found = instance.get_run_by_id(killed.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.FAILURE


def test_a_run_that_was_begun_again_is_not_ended_by_the_process_of_the_first(
    stage: Stage, instance: dg.DagsterInstance, due: Callable[[], Any]
) -> None:
    """It has the first one's tags until it states its own."""
    host, pid, started_at, _ = process_tag("")[PROCESS_TAG].split(" ")
    again = _start(instance, f"{host} {pid} {int(started_at) - 1} the-first-run")

    assert "is not finished yet" in _skipped(due())
    found = instance.get_run_by_id(again.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.STARTED


def test_every_run_states_its_process(stage: Stage, instance: dg.DagsterInstance) -> None:
    stage.materialise(instance)

    [run] = instance.get_runs()
    assert process_tag(run.run_id).items() <= run.tags.items()


class Watched:
    """A data set in a folder, and the sensor that watches it."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        folder.mkdir()
        self.folder = folder
        self.instance = instance
        self.cursor: str | None = None
        workflow = load_workflow("thermal")
        here = {**workflow.profiles, "here": {"source": {"root": str(folder)}}}
        watching = workflow.model_copy(update={"profiles": here})
        self.sensor = sensor_of(watching, Sensor(profile="here", every_s=60), JOB)

    def put(self, name: str, seconds: int) -> None:
        path = self.folder / name
        path.write_text(name)
        os.utime(path, (seconds, seconds))

    def look(self) -> Any:
        with dg.build_sensor_context(self.instance, cursor=self.cursor) as context:
            decision = self.sensor(context)
            self.cursor = context.cursor
        return decision


@pytest.fixture
def watched(tmp_path: Path, instance: dg.DagsterInstance) -> Watched:
    return Watched(tmp_path / "data", instance)


def test_a_change_starts_one_run_once_it_stands_still(watched: Watched) -> None:
    watched.put("1.jpg", seconds=1)
    assert "has changed; a run starts if it is the same in 60 s" in _skipped(watched.look())
    request = watched.look()
    assert isinstance(request, dg.RunRequest)
    assert request.run_config == run_config("thermal", "here")
    for _ in range(2):
        assert "has not changed since the last run" in _skipped(watched.look())


def test_a_data_set_that_is_being_copied_is_waited_for(watched: Watched) -> None:
    for second in range(3):
        watched.put(f"{second}.jpg", second)
        assert "has changed" in _skipped(watched.look())
    assert isinstance(watched.look(), dg.RunRequest)


def test_a_source_that_goes_back_is_run_again_under_another_key(watched: Watched) -> None:
    keys = []
    for second in (1, 2, 1):
        watched.put("1.jpg", second)
        watched.look()
        keys.append(watched.look().run_key)
    assert len(set(keys)) == 3


def test_a_passing_change_starts_nothing(watched: Watched) -> None:
    watched.put("1.jpg", seconds=1)
    watched.look()
    assert isinstance(watched.look(), dg.RunRequest)
    watched.put("2.jpg", seconds=2)
    watched.look()
    (watched.folder / "2.jpg").unlink()
    assert "has not changed" in _skipped(watched.look())
    watched.put("2.jpg", seconds=2)
    assert "has changed" in _skipped(watched.look())


def test_a_source_that_cannot_be_read_is_named_and_seen_again_later(watched: Watched) -> None:
    watched.put("1.jpg", seconds=1)
    watched.look()
    watched.look()
    ran = watched.cursor
    away = watched.folder.rename(watched.folder.with_name("away"))
    for _ in range(2):
        assert "cannot be read: source.root: no folder" in _skipped(watched.look())
    assert watched.cursor == ran
    away.rename(watched.folder)
    assert "has not changed" in _skipped(watched.look())


def test_generated_recordings_never_change(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path))
    sensor = sensor_of(load_workflow("thermal"), Sensor(profile="tiny"), JOB)
    decisions = []
    with dg.build_sensor_context(instance) as context:
        for _ in range(4):
            decisions.append(sensor(context))
            shutil.rmtree(tmp_path / "generated", ignore_errors=True)
    assert [isinstance(d, dg.RunRequest) for d in decisions] == [False, True, False, False]


def test_a_mirror_is_watched_too(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped objects stand still; a mirror that is not there is named."""
    workflow = load_workflow("point_cloud")
    sensor = sensor_of(workflow, Sensor(profile="tiny"), JOB)
    with dg.build_sensor_context(instance) as context:
        assert "has changed" in _skipped(sensor(context))
        assert isinstance(sensor(context), dg.RunRequest)
    gone = {**workflow.profiles, "gone": {"objects": {"mirror": str(tmp_path / "none")}}}
    sensor = sensor_of(workflow.model_copy(update={"profiles": gone}), Sensor(profile="gone"), JOB)
    with dg.build_sensor_context(instance) as context:
        reason = _skipped(sensor(context))
    assert "cannot be read: no Objaverse mirror at" in reason


@pytest.mark.parametrize("automation", ["schedule", "sensor", "pieces"])
def test_a_profile_that_does_not_exist_is_refused_at_load(automation: str) -> None:
    given = {"schedule": {"cron": "* * * * *"}, "sensor": {}, "pieces": {"number": 2}}[automation]
    attributes = {
        **load_workflow("thermal").model_dump(),
        automation: {**given, "profile": "ful"},
    }
    with pytest.raises(ConfigError, match=rf"{automation}\.profile: .*did you mean full\?"):
        Workflow.model_validate(attributes)

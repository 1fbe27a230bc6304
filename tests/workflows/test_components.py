"""The Dagster definitions of a modality: flow, gates, artifacts on their way."""

from __future__ import annotations

import base64
import shutil
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
import yaml

from pipelines.flow import STEPS
from tests.workflows.stage import DEFINITIONS, Stage
from vitlens_core.errors import TransientError
from workflows.components import ModalityWorkflow
from workflows.definitions import shared
from workflows.modalities import FOLDER, modality_names
from workflows.runner import evaluate
from workflows.spec import load_workflow

WAYS = load_workflow("point_cloud").step_names
STEP_NAMES = tuple(name for name in WAYS if name != "source")  # what a run of objects makes
FLOW = (*STEP_NAMES, "challenger", "champion")


def key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["point_cloud", name])


def test_every_folder_of_modalities_is_a_job() -> None:
    jobs = {job.name for job in DEFINITIONS.resolve_all_job_defs()}

    assert set(modality_names()) <= jobs


@pytest.mark.parametrize("modality", modality_names())
def test_assets_stand_in_the_order_of_the_flow(modality: str) -> None:
    keys = DEFINITIONS.resolve_asset_graph().toposorted_asset_keys

    own = [step.name for step in load_workflow(modality).steps]
    found = [k.path[-1] for k in keys if k.path[0] == modality and k.path[-1] != "pieces"]
    assert sorted(found) == sorted([*own, "challenger", "champion"])
    ways = {name for name in own if name in ("objects", "renders", "source")}
    assert found.index("shards") == len(ways)
    assert found[len(ways) :] == [*own[len(ways) :], "challenger", "champion"]


def test_a_run_with_a_source_leaves_out_the_way_over_rendered_objects(
    stage: Stage, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    sets = ("source.kind=manifest", f"source.root={tmp_path / 'mine'}")
    before = WAYS[: WAYS.index("targets")]
    assert stage.materialise(instance, *before, sets=sets).success
    assert stage.asked == ["source", "shards", "foundation"]
    assert set(stage.received["shards"]) == {"source"}
    [left] = instance.fetch_materializations(key("objects"), limit=1).records
    assert left.asset_materialization is not None
    assert "data set" in str(left.asset_materialization.metadata["left out"].value)


def test_a_modality_that_shares_a_foundation_makes_its_own_of_a_data_set(
    stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    sets = ("source.kind=manifest", f"source.root={tmp_path / 'mine'}")
    evaluate(stage.workplace, "depth", "tiny", sets, {})
    assert stage.asked == ["source", "shards", "foundation", "targets", "lens", "evaluation"]
    assert set(stage.received["foundation"]) == {"shards"}
    own = load_workflow("depth").config("tiny", sets).foundation
    assert own == load_workflow("point_cloud").config("tiny").foundation


def test_targets_are_made_of_shards_and_foundation() -> None:
    graph = DEFINITIONS.resolve_asset_graph()

    assert graph.get(key("targets")).parent_keys == {key("shards"), key("foundation")}


def test_the_edges_of_the_graph_are_the_flow() -> None:
    graph = DEFINITIONS.resolve_asset_graph()

    assert graph.get(key("challenger")).parent_keys == set(
        map(key, ("evaluation", "index", "benchmarks"))
    )
    assert graph.get(key("champion")).parent_keys == {key("challenger")}


def test_the_lens_shows_the_course_of_its_training(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    stage.materialise(instance)
    shown = {}
    for name in ("lens", "evaluation", "challenger"):
        [event] = instance.fetch_materializations(key(name), limit=1).records
        assert event.asset_materialization is not None
        shown[name] = event.asset_materialization.metadata
    assert shown["lens"]["loss"].value == 1.0
    assert shown["evaluation"]["top-1"].value == 1.0
    assert "skipped" in str(shown["challenger"]["gates"].value)
    assert "Loss" in _picture(shown["lens"]["course"])
    assert "taken for" in _picture(shown["evaluation"]["confusion"])
    run = str(shown["lens"]["MLflow run"].value)
    assert run == shown["evaluation"]["MLflow run"].value
    assert run.endswith(str(shown["lens"]["fingerprint"].value))
    report = Path(str(shown["evaluation"]["report"].value))
    assert report.is_relative_to(stage.home)
    assert str(shown["challenger"]["MLflow report"].value).endswith("/report/report.html")


def _picture(metadata: dg.MetadataValue) -> str:
    """The SVG that Dagster's page shows."""
    head, _, data = str(metadata.value).removesuffix(")").partition("base64,")
    assert head.startswith("![")
    assert "data:image/svg+xml" in head
    svg = base64.b64decode(data).decode()
    assert "<svg" in svg
    return svg


def test_a_tracking_server_that_is_away_fails_no_step(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    def away(lens: str) -> str:
        raise TransientError("no server")

    stage.registry.page_of_training = away
    assert stage.materialise(instance).success
    [event] = instance.fetch_materializations(key("lens"), limit=1).records
    assert event.asset_materialization is not None
    assert "MLflow run" not in event.asset_materialization.metadata


def test_whom_to_ask_is_shown() -> None:
    path = FOLDER / "point_cloud" / "defs.yaml"
    attributes = yaml.safe_load(path.read_text())["attributes"]
    attributes["owners"] = ["team:perception"]
    built = dg.build_defs_for_component(ModalityWorkflow(**attributes))
    graph = dg.Definitions.merge(built, shared()).resolve_asset_graph()
    assert {tuple(graph.get(key(name)).owners) for name in FLOW} == {("team:perception",)}


def test_a_shared_foundation_is_an_input_and_what_it_is_made_of_is_part_of_the_job() -> None:
    graph = DEFINITIONS.resolve_asset_graph()
    shared = dg.AssetKey(["point_cloud", "foundation"])

    own = graph.get(dg.AssetKey(["depth", "foundation"]))
    assert own.parent_keys == {dg.AssetKey(["depth", "shards"]), shared}
    job = DEFINITIONS.resolve_job_def("depth")
    assert {shared, key("shards"), key("objects")} <= job.asset_layer.selected_asset_keys
    assert key("targets") not in job.asset_layer.selected_asset_keys


def test_every_schedule_and_sensor_is_declared_but_stopped() -> None:
    schedules, sensors = list(DEFINITIONS.schedules or []), list(DEFINITIONS.sensors or [])

    sensors = [sensor for sensor in sensors if sensor.name != "failed_runs"]  # starts no run
    assert len(schedules) == len(sensors) == len(modality_names())
    for schedule in schedules:
        assert isinstance(schedule, dg.ScheduleDefinition)
        assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
        assert schedule.execution_timezone == "UTC"
    for sensor in sensors:
        assert sensor.default_status is dg.DefaultSensorStatus.STOPPED


def test_steps_stand_in_pools_by_what_they_take() -> None:
    graph = DEFINITIONS.resolve_asset_graph()
    pools = {step.name: graph.get(key(step.name)).pools for step in STEPS}
    assert pools["lens"] == {"training"}
    assert pools["renders"] == pools["targets"] == {"data"}
    assert pools["evaluation"] == {"compute"}
    assert not pools["source"]


def test_there_is_one_blocking_check_per_gate_of_the_yaml_and_one_for_each_other_tier() -> None:
    attributes = yaml.safe_load((FOLDER / "point_cloud" / "defs.yaml").read_text())["attributes"]
    attributes["gates"] = {"recall": {"metric": "retrieval.point_to_text.r1", "min": 0.1}}
    attributes |= {"schedule": None, "sensor": None, "pieces": None}
    built = dg.build_defs_for_component(ModalityWorkflow(**attributes))

    [checks] = built.asset_checks or []
    specs = list(checks.check_specs)
    assert [spec.name for spec in specs] == [
        *("sanity", "recall", "held_out", "non_inferiority", "benchmarks")
    ]
    assert {(spec.asset_key, spec.blocking) for spec in specs} == {(key("challenger"), True)}
    assert not built.schedules
    assert not built.sensors
    assert [job.name for job in built.jobs or []] == ["point_cloud"]


def test_a_passed_gate_makes_the_challenger_champion(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    result = stage.materialise(instance)

    assert result.success
    assert stage.asked == list(STEP_NAMES)
    assert [v.aliases for v in stage.versions] == [("champion",)]
    assert [r["model"].aliases for r in stage.reports] == [("challenger",), ("champion",)]
    held = {check.check_name for check in result.get_asset_check_evaluations()}
    thresholds = {"times_chance", "ratio_to_foundation"}
    assert held == {"sanity", "held_out", "non_inferiority", "benchmarks"} | thresholds


def test_a_failed_gate_blocks_the_champion_and_says_why(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    stage.top1 = 0.5
    result = stage.materialise(instance, sets=("gates.times_chance.min=8",))

    assert not result.success
    assert [v.aliases for v in stage.versions] == [("challenger",)]
    assert not instance.fetch_materializations(key("champion"), limit=1).records
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert checks["ratio_to_foundation"].passed
    failed = checks["times_chance"]
    assert not failed.passed
    assert failed.metadata["value"].value == 2.0
    assert failed.metadata["threshold"].value == 8.0
    assert "times_chance is 2" in str(failed.metadata["why"].value)


def test_a_skipped_gate_is_a_warning_that_says_so_and_blocks_nothing(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    result = stage.materialise(instance)
    assert result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    skipped = checks["benchmarks"]
    assert (skipped.passed, skipped.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert (skipped.description or "").startswith("skipped: there is no data set")
    assert "value" not in skipped.metadata, "nothing was measured"


def test_the_report_of_a_failed_gate_is_written(stage: Stage, instance: dg.DagsterInstance) -> None:
    stage.top1 = 0.5
    stage.materialise(instance, sets=("gates.times_chance.min=8",))

    [written] = stage.reports
    assert [g.outcome for g in written["gates"]] == [
        "skipped",  # switched off in this profile
        "failed",
        "passed",
        "skipped",  # switched off in this profile
        "skipped",  # no champion yet
        "skipped",  # nothing mounted
    ]
    assert set(written["artifacts"]) == set(STEP_NAMES)


def test_a_single_asset_takes_what_was_made_before(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    stage.materialise(instance)
    stage.asked.clear()
    result = stage.materialise(instance, "targets")

    assert result.success
    assert stage.asked == ["targets"]
    assert set(stage.received["targets"]) == {"shards", "foundation"}


def test_a_single_asset_before_its_inputs_says_what_to_do(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    result = stage.materialise(instance, "lens")

    [failure] = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_FAILURE]
    assert "was never made: materialise it first" in str(failure.step_failure_data.error)


def test_a_run_keeps_to_its_own_artifacts(stage: Stage, instance: dg.DagsterInstance) -> None:
    """Another run of the modality that overlaps must not slip its artifacts in."""
    alone = "acceptance.non_inferiority=null"  # lenses of a stage can embed nothing
    stage.materialise(instance, sets=("objects.count=5", alone))
    [other] = instance.fetch_materializations(key("objects"), limit=1).records
    assert other.asset_materialization is not None
    stage.meanwhile = {
        "renders": partial(instance.report_runless_asset_event, other.asset_materialization)
    }
    stage.materialise(instance, sets=("objects.count=6", alone))

    assert stage.received["renders"]["objects"].manifest.config["objects"] == 6
    assert stage.reports[-1]["artifacts"]["objects"].manifest.config["objects"] == 6


def test_a_removed_artifact_is_not_handed_on(
    stage: Stage, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    stage.materialise(instance)
    targets = stage.received["lens"]["targets"]
    targets.path("manifest.json").unlink()
    for found in ("unfinished", "gone"):
        result = stage.materialise(instance, "lens")
        [failed] = [
            e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_FAILURE
        ]
        expected = f"is {found}: materialise point_cloud/targets again"
        assert expected in str(failed.step_failure_data.error)
        shutil.rmtree(str(targets.folder), ignore_errors=True)


def test_every_asset_reports_where_its_artifact_lies(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    stage.materialise(instance)

    for step in STEP_NAMES:
        [event] = instance.fetch_materializations(key(step), limit=1).records
        assert event.asset_materialization is not None
        shown = event.asset_materialization.metadata
        assert (stage.home / "artifacts" / step) in Path(str(shown["folder"].value)).parents
        assert {"fingerprint", "reused", "seconds", "samples", "quarantined"} <= set(shown)

"""The partitioned asset: what a partition builds, and what it leaves to the run."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from tests.workflows.stage import DEFINITIONS, Stage
from workflows.modalities import modality_names
from workflows.settings import run_config
from workflows.spec import load_workflow


@pytest.mark.parametrize("modality", modality_names())
def test_every_modality_can_be_backfilled(modality: str) -> None:
    job = DEFINITIONS.resolve_job_def(f"{modality}_pieces")
    pieces = load_workflow(modality).pieces

    assert pieces is not None
    assert job.partitions_def is not None
    assert len(job.partitions_def.get_partition_keys()) == pieces.number
    assert job.asset_layer.selected_asset_keys == {dg.AssetKey([modality, "pieces"])}
    ordinary = DEFINITIONS.resolve_job_def(modality)
    assert dg.AssetKey([modality, "pieces"]) not in ordinary.asset_layer.selected_asset_keys


def test_a_partition_builds_its_piece_up_to_the_shards(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    job = DEFINITIONS.resolve_job_def("point_cloud_pieces")
    with stage.workplace.entered():
        result = job.execute_in_process(
            run_config("point_cloud", "tiny"), instance, partition_key="03-of-64"
        )

    assert result.success
    assert stage.asked == ["objects", "renders", "shards"]
    assert all(made.is_part for made in stage.received["shards"].values())
    assert not list((stage.home / "artifacts").glob("*/*/manifest.json"))
    [event] = result.asset_materializations_for_node("point_cloud__pieces")
    shown = event.metadata
    assert event.partition == "03-of-64"
    assert Path(str(shown["renders"].value)).parent == stage.home / "artifacts" / "renders"


def test_after_a_backfill_a_single_asset_downstream_says_what_is_missing(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    job = DEFINITIONS.resolve_job_def("point_cloud_pieces")
    config = run_config("point_cloud", "tiny")
    with stage.workplace.entered():
        job.execute_in_process(config, instance, partition_key="01-of-64")
    result = stage.materialise(instance, "foundation")

    [failed] = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_FAILURE]
    expected = "point_cloud/shards was never made: materialise it first"
    assert expected in str(failed.step_failure_data.error)

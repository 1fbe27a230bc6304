"""A sweep as MLflow runs: a parent, its points, and nothing registered."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines import sweep as results
from pipelines.registry import models
from pipelines.sweep.runs import FAILURE_TAG
from tests.pipelines.sweep.made_up import failed, point, sweep


def test_a_sweep_is_one_run_with_its_points_below_it(home: Path) -> None:
    swept = sweep(point(home, "a", 0.5, 0.25), failed("b", "no weights"))
    for _ in range(2):  # the second replaces the first
        folder = results.write(home, swept)
    assert {f.name for f in folder.iterdir()} == {"sweep.json", "sweep.html", "plot.svg"}

    client = models.connect(home)
    kept = client.get_experiment_by_name("vitlens-point_cloud-sweeps")
    assert kept is not None
    runs = {run.info.run_name: run for run in client.search_runs([kept.experiment_id])}
    parent = runs.pop(f"head-{swept.fingerprint[:8]}")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert {name: run.info.status for name, run in runs.items()} == {"a": "FINISHED", "b": "FAILED"}
    assert runs["b"].data.tags[FAILURE_TAG] == "no weights"
    assert runs["a"].data.metrics["zero_shot/top1"] == 0.5
    assert runs["a"].data.metrics["val/r1"] == 0.25
    assert runs["a"].data.params["lens.train.steps"] == "6"

    stored = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert stored == {"sweep.json", "sweep.html", "plot.svg", "table.json"}
    table = json.loads(
        Path(client.download_artifacts(parent.info.run_id, "table.json")).read_text()
    )
    made, lost = (dict(zip(table["columns"], row, strict=True)) for row in table["data"])
    assert (made["point"], made["held-out top-1"], made["validation R@1"]) == ("a", 0.5, 0.25)
    assert (lost["point"], lost["failure"], lost["held-out top-1"]) == ("b", "no weights", None)
    assert models.versions(home, "point_cloud") == []
    assert not Path("mlruns").exists()

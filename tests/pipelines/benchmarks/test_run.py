"""The step: what it writes, what decides its fingerprint, and that it costs nothing unmounted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.benchmarks import job as benchmarks
from pipelines.benchmarks.step import TABLE, BenchmarksConfig
from pipelines.benchmarks.table import Table
from pipelines.execution.runtime import Runtime
from pipelines.foundation.opening import open_foundation
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import encode_model
from tests.pipelines import finished_run, synthetic
from tests.pipelines.benchmarks import small_clouds
from tests.pipelines.synthetic import trained_tower
from vitlens_core.checkpoint import encode_lens
from vitlens_core.errors import ConfigError
from vitlens_core.model_files import LENS_FILE
from vitlens_core.models.tower import build_tower

pytestmark = pytest.mark.slow

POINTS_BENCHMARKS = {
    *("modelnet40_openshape", "modelnet40_ulip", "objaverse_lvis"),
    *("scanobjectnn_openshape", "scanobjectnn_h5"),
}


def lens_of(store: Store, foundation: Artifact) -> Artifact:
    """An untrained tiny lens of point clouds."""
    encoder = open_foundation(foundation)
    settings = trained_tower()
    torch.manual_seed(0)
    state = build_tower(settings, encoder.trunk).trained_state()
    data = encode_lens(state, settings, encoder.spec, encoder.digest())
    build = store.begin("lens", 1, {"modality": "point_cloud"}, {"foundation": foundation})
    return build.commit([write_atomic(build.folder / LENS_FILE, data)], {"steps": 0})


def evaluated(store: Store, lens: Artifact, *, emergent: bool, seed: int = 0) -> Artifact:
    build = store.begin("evaluation", 1, {"emergent": emergent, "seed": seed}, {"lens": lens})
    made_up = finished_run.evaluation(finished_run.predictions(finished_run.samples(), right=0.5))
    stated = made_up.model_copy(update={"emergent": emergent})
    file = write_atomic(build.folder / "metrics.json", encode_model(stated))
    return build.commit([file], {"samples": 0})


@pytest.fixture
def inputs(runtime: Runtime, tiny_lit: str) -> dict[str, Artifact]:
    foundation = synthetic.foundation(runtime.store, tiny_lit)
    lens = lens_of(runtime.store, foundation)
    evaluation = evaluated(runtime.store, lens, emergent=False)
    targets = synthetic.targets(runtime.store, {"train": (3,), "val": (1,)})
    return {"targets": targets, "foundation": foundation, "lens": lens, "evaluation": evaluation}


def _config(**settings: Any) -> BenchmarksConfig:
    small = {"resamples": 100, "shots": (1,), "draws": 2}
    return BenchmarksConfig.model_validate(small | settings)


def test_nothing_mounted_opens_no_model_and_lists_what_there_is(
    runtime: Runtime, inputs: dict[str, Artifact]
) -> None:
    inputs["lens"].path(LENS_FILE).write_bytes(b"whoever opens it fails")
    made = benchmarks.run(runtime, BenchmarksConfig(), **inputs)
    made.verify()
    assert made.manifest.counts == {"rows": 0, "failed": 0, "skipped": 5}
    found = made.read_model(TABLE, Table)
    assert (found.rows, found.failed) == ((), ())
    assert {item.benchmark for item in found.skipped} == POINTS_BENCHMARKS
    assert {item.reason for item in found.skipped} == {"not mounted"}
    assert "not mounted" in made.path("benchmarks.md").read_text()
    assert benchmarks.run(runtime, BenchmarksConfig(), **inputs).reused


def test_a_mounted_data_set_is_measured(
    runtime: Runtime, inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    root = small_clouds.openshape_modelnet(tmp_path / "data", ["airplane", "bed"] * 3)
    config = _config(roots={"modelnet40_openshape": str(root)})
    made = benchmarks.run(runtime, config, **inputs)
    found = made.read_model(TABLE, Table)
    assert found.failed == ()
    [top1] = [row for row in found.rows if (row.kind, row.metric) == ("zero-shot", "top1")]
    assert (top1.n, top1.chance) == (6, 1 / 40)
    assert top1.published["ViT-Lens-G"] == 0.876
    assert "points_seen: 32 here, 10000 in the protocol" in top1.notes
    assert len(found.skipped) == 4
    page = made.path("benchmarks.md").read_text()
    assert "OpenShape protocol: 10,000 points" in page
    assert "ViT-Lens-G 0.876" in page


def test_place_does_not_decide_the_fingerprint_and_content_does(
    runtime: Runtime, inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    roots = [small_clouds.openshape_modelnet(tmp_path / name, ["bed"] * 2) for name in ("a", "b")]
    here, there = (
        benchmarks.run(runtime, _config(roots={"modelnet40_openshape": str(root)}), **inputs)
        for root in roots
    )
    assert there.reused
    assert here.fingerprint == there.fingerprint
    small_clouds.openshape_modelnet(roots[0], ["bed"] * 3)
    more = benchmarks.run(runtime, _config(roots={"modelnet40_openshape": str(roots[0])}), **inputs)
    assert more.fingerprint != here.fingerprint
    assert more.read_model(TABLE, Table) != here.read_model(TABLE, Table)
    none = benchmarks.run(runtime, _config(), **inputs)
    assert none.fingerprint not in {here.fingerprint, more.fingerprint}


def test_a_data_set_that_fails_is_named_and_tried_again(
    runtime: Runtime, inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    root = small_clouds.openshape_modelnet(tmp_path / "data", ["bed"] * 2)
    clouds = root / "modelnet40" / "test_pc.npy"
    whole = clouds.read_bytes()
    clouds.write_bytes(whole[:-100] + b"x" * 100)
    config = _config(roots={"modelnet40_openshape": str(root)})
    made = benchmarks.run(runtime, config, **inputs)
    assert made.manifest.counts["failed"] == 1
    [failure] = made.read_model(TABLE, Table).failed
    assert "test_pc.npy" in failure.reason
    assert failure.reason in made.path("benchmarks.md").read_text()
    clouds.write_bytes(whole)
    mended = benchmarks.run(runtime, config, **inputs)
    assert (mended.manifest.counts["failed"], mended.reused) == (0, False)
    mended.verify()
    assert mended.manifest.counts["rows"] > 0


def test_a_root_of_another_modality_is_a_mistake(
    runtime: Runtime, inputs: dict[str, Artifact]
) -> None:
    with pytest.raises(ConfigError, match="esc50 measures audio; the model has point_cloud"):
        benchmarks.run(runtime, _config(roots={"esc50": "/data"}), **inputs)


def test_only_what_the_lens_was_trained_against_counts_of_its_evaluation(
    runtime: Runtime, inputs: dict[str, Artifact]
) -> None:
    made = benchmarks.run(runtime, _config(), **inputs)
    store, lens = runtime.store, inputs["lens"]
    other = {**inputs, "evaluation": evaluated(store, lens, emergent=False, seed=1)}
    assert benchmarks.run(runtime, _config(), **other).fingerprint == made.fingerprint
    emergent = {**inputs, "evaluation": evaluated(store, lens, emergent=True)}
    assert benchmarks.run(runtime, _config(), **emergent).fingerprint != made.fingerprint

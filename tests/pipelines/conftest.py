"""The steps' shared ground: a runtime per test, and one tiny real flow per session.

The flow is real: shipped objects rendered by the default renderer, the packaged foundation.
Only its sizes are tiny, and no step needs Ray. Steps are built when a test first asks for them,
by whichever process of the session is first, and only read afterwards.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from pipelines.evaluation import job as evaluation
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.foundation import job as foundation
from pipelines.foundation.step import FoundationConfig
from pipelines.index import job as index
from pipelines.index.step import IndexConfig
from pipelines.lens import job as lens
from pipelines.lens.settings import TrainConfig
from pipelines.objects import job as objects
from pipelines.objects.step import ObjectsConfig
from pipelines.renders import job as renders
from pipelines.renders.step import RendersConfig
from pipelines.shards import job as shards
from pipelines.shards.step import ShardsConfig, StoredSignal
from pipelines.store.artifacts import Artifact
from pipelines.store.files import made_once
from pipelines.targets import job as targets
from pipelines.targets.step import TargetsConfig
from tests.pipelines import small_mirror
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.foundation.settings import FitSettings
from vitlens_core.modalities.point_cloud import PointCloudSignal
from vitlens_core.models.tower_settings import TowerSettings

CLOUDS = PointCloudSignal(points=256)


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return quiet_runtime(tmp_path)


@pytest.fixture(scope="session")
def flow_runtime(session_folder: Path) -> Runtime:
    return quiet_runtime(session_folder / "flow")


@pytest.fixture(scope="session")
def alone(session_folder: Path) -> FileLock:
    """Held while a step of the flow is built: two processes must not build the same one."""
    return FileLock(session_folder / "flow.lock")


@pytest.fixture(scope="session")
def flow_mirror(session_folder: Path) -> Path:
    """Twelve shipped objects of three classes, and two that are broken."""
    return made_once(session_folder / "mirror", small_mirror.write)


@pytest.fixture(scope="session")
def objects_artifact(flow_runtime: Runtime, alone: FileLock, flow_mirror: Path) -> Artifact:
    config = ObjectsConfig(mirror=str(flow_mirror), objects_per_shard=3)
    with alone:
        return objects.run(flow_runtime, config)


@pytest.fixture(scope="session")
def renders_artifact(
    flow_runtime: Runtime, alone: FileLock, objects_artifact: Artifact
) -> Artifact:
    config = RendersConfig(size_px=64, polar_deg=(90.0,), azimuths=4, points=512)
    with alone:
        return renders.run(flow_runtime, config, objects_artifact)


@pytest.fixture(scope="session")
def shards_artifact(flow_runtime: Runtime, alone: FileLock, renders_artifact: Artifact) -> Artifact:
    signal = StoredSignal("point_cloud", CLOUDS)
    with alone:
        return shards.run(flow_runtime, ShardsConfig(), signal, renders=renders_artifact)


@pytest.fixture(scope="session")
def foundation_artifact(
    flow_runtime: Runtime, alone: FileLock, shards_artifact: Artifact
) -> Artifact:
    fit = FitSettings(steps=40, batch_size=16, dropout=0.1, learning_rate=3e-3)
    config = FoundationConfig(embed_dim=32, image_size_px=56, fit=fit)
    with alone:
        return foundation.run(flow_runtime, config, {}, shards_artifact)


@pytest.fixture(scope="session")
def targets_artifact(
    flow_runtime: Runtime, alone: FileLock, shards_artifact: Artifact, foundation_artifact: Artifact
) -> Artifact:
    with alone:
        return targets.run(flow_runtime, TargetsConfig(), shards_artifact, foundation_artifact)


@pytest.fixture(scope="session")
def lens_artifact(
    flow_runtime: Runtime,
    alone: FileLock,
    targets_artifact: Artifact,
    foundation_artifact: Artifact,
) -> Artifact:
    sizes = {"points_seen": 128, "groups": 9, "group_size": 4, "encoder_dim": 16, "width": 16}
    shape = {"latents": 4, "depth": 1, "latent_heads": 2, "latent_dim_head": 8, "cross_dim_head": 8}
    train = {"steps": 6, "batch_size": 6, "warmup_steps": 1, "precision": "fp32"}
    given = {"signal": CLOUDS.model_dump(), "tokenizer": sizes, "lens": shape}
    tower = TowerSettings.of("point_cloud", **given, trunk={"skip_first": 10})
    config = TrainConfig.model_validate(train)
    with alone:
        return lens.run(flow_runtime, config, tower, targets_artifact, foundation_artifact)


@pytest.fixture(scope="session")
def evaluation_artifact(
    flow_runtime: Runtime,
    alone: FileLock,
    targets_artifact: Artifact,
    foundation_artifact: Artifact,
    lens_artifact: Artifact,
) -> Artifact:
    inputs = (targets_artifact, foundation_artifact, lens_artifact)
    with alone:
        return evaluation.run(flow_runtime, EvaluationConfig(), *inputs)


@pytest.fixture(scope="session")
def index_artifact(
    flow_runtime: Runtime,
    alone: FileLock,
    shards_artifact: Artifact,
    targets_artifact: Artifact,
    foundation_artifact: Artifact,
    lens_artifact: Artifact,
) -> Artifact:
    inputs = (shards_artifact, targets_artifact, foundation_artifact, lens_artifact)
    with alone:
        return index.run(flow_runtime, IndexConfig(thumbnail_px=32), *inputs)

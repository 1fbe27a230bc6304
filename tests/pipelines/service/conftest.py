"""A registered lens of the tiny flow, its index, and the service over it without Ray."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import vitlens_core
from pipelines.execution.runtime import Runtime
from pipelines.index import job as index
from pipelines.index.step import IndexConfig
from pipelines.objects.mirror import EMBEDDED
from pipelines.registry import models, promotion
from pipelines.registry.version import ModelVersion
from pipelines.service.app import create_app
from pipelines.service.config import Limits, ServiceConfig
from pipelines.service.engine import Engine
from pipelines.store.artifacts import Artifact
from tests.pipelines.finished_run import CONFIG
from tests.pipelines.service.browser import Browser, browser, serving
from tests.pipelines.service.companions import Made, Served

SOURCE = "models:/vitlens-point_cloud@champion"
LIMITS = Limits(body_mb=2, inputs=8, classes=20, text_characters=300, neighbours=10, decode_s=15)


@pytest.fixture(scope="session")
def flow(
    shards_artifact: Artifact,
    targets_artifact: Artifact,
    foundation_artifact: Artifact,
    lens_artifact: Artifact,
    evaluation_artifact: Artifact,
) -> dict[str, Artifact]:
    """The tiny flow's artifacts by step, from the shards on."""
    return {
        "shards": shards_artifact,
        "targets": targets_artifact,
        "foundation": foundation_artifact,
        "lens": lens_artifact,
        "evaluation": evaluation_artifact,
    }


def register(home: Path, flow: dict[str, Artifact]) -> ModelVersion:
    """The flow's lens as the champion of `home`."""
    made = models.register_challenger(home, "point_cloud", CONFIG, flow)
    return promotion.promote(home, made.name, made.version, force=True)


def make_index(runtime: Runtime, flow: dict[str, Artifact]) -> Artifact:
    inputs = (flow[step] for step in ("shards", "targets", "foundation", "lens"))
    return index.run(runtime, IndexConfig(thumbnail_px=32), *inputs)


@pytest.fixture(scope="session")
def home(
    tmp_path_factory: pytest.TempPathFactory, database: Path, flow: dict[str, Artifact]
) -> Iterator[Path]:
    """A home whose champion is the flow's lens; VITLENS_HOME while the session lasts."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(database, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("VITLENS_HOME", str(folder))
        register(folder, flow)
        yield folder


@pytest.fixture(scope="session")
def config(home: Path, flow_runtime: Runtime, index_artifact: Artifact) -> ServiceConfig:
    store = str(flow_runtime.store.root)
    return ServiceConfig(sources=(SOURCE,), store=store, limits=LIMITS, decoders=1)


@pytest.fixture(scope="session")
def engine(config: ServiceConfig) -> Iterator[Engine]:
    engine = Engine(config)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def client(engine: Engine) -> TestClient:
    """Without the app's lifespan: the engine outlives every test."""
    return TestClient(create_app(engine), "http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture(scope="session")
def model(home: Path) -> vitlens_core.Model:
    """What the service serves, in this process."""
    return vitlens_core.load(SOURCE)


@pytest.fixture(scope="session")
def glbs() -> list[Path]:
    """Small shipped objects."""
    return sorted(EMBEDDED.rglob("*.glb"), key=lambda path: path.stat().st_size)[:6]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Made:
    return Made(tmp_path_factory.mktemp("companions"), engine)


@pytest.fixture(scope="session")
def served(made: Made) -> Served:
    """By kind of companion."""
    return cache(lambda kind: made.client(made.opened(kind)))


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    with serving(create_app(engine)) as url:
        yield url


@pytest.fixture
def page(url: str, tmp_path: Path) -> Iterator[Browser]:
    """The explorer, with what its policy refused listed in `refused`."""
    with browser(tmp_path) as tab:
        tab.open(url)
        tab.run(
            "window.refused = []; document.addEventListener('securitypolicyviolation', "
            "(event) => window.refused.push(event.blockedURI))"
        )
        yield tab

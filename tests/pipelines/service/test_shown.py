"""What the service shows of its own: no secret, no damaged index, no picture that is none."""

from __future__ import annotations

import asyncio
import copy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from upath import UPath

from pipelines.index.catalogue import Catalogue
from pipelines.service.app import create_app
from pipelines.service.config import ServiceConfig
from pipelines.service.engine import Engine
from pipelines.service.versions import open_model, resolve
from pipelines.store.artifacts import Artifact, load
from vitlens_core.errors import IntegrityError

ADDRESSES = (
    "http://ada:hunter2@127.0.0.1:9",
    "https://hunter2@127.0.0.1:9/mlflow",
    "http://127.0.0.1:9/?token=hunter2",
    "postgresql://ada:hunter2@127.0.0.1:9/mlflow",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_ready_shows_no_password_of_the_registry(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    address: str,
) -> None:
    engine = copy.copy(engine)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    asyncio.run(engine.look())
    assert "the registry cannot be asked" in engine.reload
    client = TestClient(create_app(engine), "http://127.0.0.1", raise_server_exceptions=False)
    for path in ("/ready", "/model", "/health", "/metrics"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "hunter2" not in answer.text + str(answer.headers)
    assert client.get("/ready").json()["reload"] == engine.reload
    assert "hunter2" not in caplog.text


def test_ready_shows_no_password_of_the_store(config: ServiceConfig) -> None:
    store = "memory://ada:hunter2@bucket/artifacts"
    elsewhere = config.model_copy(update={"store": store})
    loaded = open_model(elsewhere, resolve(elsewhere.sources))
    assert "no index of" in loaded.search
    assert "hunter2" not in loaded.search


@pytest.fixture
def damaged(index_artifact: Artifact, tmp_path: Path) -> Path:
    """A store whose only index has a flipped bit in a graph."""
    folder = Path(str(index_artifact.folder))
    place = tmp_path / "store" / folder.parent.name / folder.name
    shutil.copytree(folder, place)
    graph = place / "signal-00000.usearch"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    return place


def test_a_damaged_index_is_named_and_the_model_is_served_without(
    config: ServiceConfig, engine: Engine, damaged: Path
) -> None:
    elsewhere = config.model_copy(update={"store": str(damaged.parents[1])})
    versions = resolve(elsewhere.sources)
    engine = copy.copy(engine)
    engine.current = open_model(elsewhere, versions)
    client = TestClient(create_app(engine), "http://127.0.0.1", raise_server_exceptions=False)
    ready = client.get("/ready").json()
    assert (ready["ready"], ready["reload"]) == (True, "current")
    assert "signal-00000.usearch" in ready["search"]
    item = {"modality": "text", "text": "a chair"}
    assert client.post("/embed", json={"inputs": [item]}).status_code == 200
    refused = client.post("/search", json={"inputs": [item]})
    assert refused.status_code == 404
    assert "signal-00000.usearch" in refused.text
    with pytest.raises(IntegrityError, match=r"signal-00000\.usearch"):
        open_model(elsewhere.model_copy(update={"index": str(damaged)}), versions)


def test_a_picture_that_is_none_is_left_out(
    engine: Engine, index_artifact: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Path(shutil.copytree(str(index_artifact.folder), tmp_path / "index"))
    catalogue = Catalogue(load(UPath(place)))
    shown = catalogue.item(0).thumbnail
    assert shown is not None
    tar, start, _ = shown
    data = bytearray((place / tar).read_bytes())
    data[start : start + 25] = b"<script>alert(1)</script>"
    (place / tar).write_bytes(data)
    engine = copy.copy(engine)
    engine.current = replace(engine.current, catalogue=catalogue)
    client = TestClient(create_app(engine), "http://127.0.0.1", raise_server_exceptions=False)
    refused = client.get(f"/thumbnails/{catalogue.name}/0")
    assert refused.status_code == 404
    assert "script" not in refused.text
    assert tar in caplog.text
    whole = client.get(f"/thumbnails/{catalogue.name}/1")
    assert whole.status_code == 200
    assert whole.headers["x-content-type-options"] == "nosniff"

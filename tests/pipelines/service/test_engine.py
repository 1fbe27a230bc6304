"""Batches, and versions that replace one another."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.registry import models
from pipelines.service.config import ServiceConfig
from pipelines.service.engine import Engine, Work
from pipelines.service.schemas import Item, Version
from pipelines.service.versions import (
    Loaded,
    Models,
    find_index,
    is_followed,
    open_model,
    resolve,
)
from pipelines.store.artifacts import Artifact
from tests.pipelines.service.conftest import SOURCE
from vitlens_core.errors import CheckpointError, ConfigError


def text(words: str) -> Item:
    return Item(modality="text", text=words)


def test_a_batch_answers_each_input_with_its_own(engine: Engine) -> None:
    """Models, modalities and a broken input are mixed in one batch."""
    other = copy.copy(engine.current)
    words = ["a chair", "a lamp", "a red car", "a small table"]
    alone = {w: asyncio.run(engine.embed(engine.current, [text(w)]))[0] for w in words}
    works = [Work(engine.current if n % 2 else other, "text", w) for n, w in enumerate(words * 3)]
    broken = Work(engine.current, "image", np.zeros((3, 3), np.uint8))
    works.insert(5, broken)
    outcomes = asyncio.run(engine.embed_all(works))
    assert isinstance(outcomes.pop(5), Exception)
    for outcome, word in zip(outcomes, words * 3, strict=True):
        assert isinstance(outcome, np.ndarray)
        np.testing.assert_allclose(outcome, alone[word], atol=1e-5)


def test_a_broken_input_does_not_spoil_its_batch_mates(engine: Engine) -> None:
    good = np.full((56, 56, 3), 100, np.uint8)
    works = [Work(engine.current, "image", p) for p in (good, good[0], good)]
    first, second, third = asyncio.run(engine.embed_all(works))
    assert isinstance(second, Exception)
    assert isinstance(first, np.ndarray)
    np.testing.assert_allclose(first, np.asarray(third), atol=1e-6)


def test_only_aliases_are_followed() -> None:
    assert is_followed(["lens.safetensors", SOURCE])
    assert not is_followed(["lens.safetensors", "models:/vitlens-point_cloud/1"])


def test_what_a_source_names_is_told(home: Path, tmp_path: Path) -> None:
    (found,) = resolve([SOURCE])
    assert found == Version(source=SOURCE, name="vitlens-point_cloud", version="1")
    with pytest.raises(ConfigError, match="no such file or folder"):
        resolve([str(tmp_path / "lens.safetensors")])
    with pytest.raises(ConfigError, match="not in the registry"):
        resolve(["models:/vitlens-point_cloud@nobody"])


def test_the_index_of_a_version_is_found_by_its_lineage(
    config: ServiceConfig, index_artifact: Artifact, flow: dict[str, Artifact], tmp_path: Path
) -> None:
    versions = resolve(config.sources)
    found = find_index(config, versions)
    assert isinstance(found, Artifact)
    assert found.folder == index_artifact.folder

    def asked(index: str, **more: str) -> Artifact | str:
        return find_index(config.model_copy(update={"index": index, **more}), versions)

    named = asked(str(index_artifact.folder))
    assert isinstance(named, Artifact)
    assert named.folder == index_artifact.folder
    assert asked("none") == "switched off (--index none)"
    assert "no index of vitlens-point_cloud version 1" in str(asked("auto", store=str(tmp_path)))
    with pytest.raises(ConfigError, match="no index at"):
        asked(str(tmp_path))
    with pytest.raises(ConfigError, match="is no index but an artifact of lens"):
        asked(str(flow["lens"].folder))


def test_a_file_has_an_index_if_one_is_named(
    config: ServiceConfig, index_artifact: Artifact, flow: dict[str, Artifact]
) -> None:
    folder = str(models.download(SOURCE))
    own = config.model_copy(update={"sources": (folder,)})
    assert "name its index with --index" in str(find_index(own, resolve(own.sources)))
    named = own.model_copy(update={"index": str(index_artifact.folder)})
    loaded = open_model(named, resolve(named.sources))
    assert loaded.catalogue is not None
    assert loaded.search == "ready"


class Moving(Models):
    """Models whose alias names the version a test says; the second cannot be opened."""

    def __init__(self, first: Loaded) -> None:
        self.first = first
        self.version = "1"
        self.tried: list[tuple[Version, ...]] = []

    def now(self) -> tuple[Version, ...]:
        if self.version == "away":
            raise ConnectionError("no route")
        return (self.first.versions[0].model_copy(update={"version": self.version}),)

    def open(self, versions: tuple[Version, ...]) -> Loaded:
        self.tried.append(versions)
        if versions[0].version == "2":
            raise CheckpointError("weights that do not fit")
        return replace(self.first, versions=versions)


def test_a_later_version_replaces_the_present_one_and_a_broken_one_does_not(
    engine: Engine,
) -> None:
    engine = copy.copy(engine)
    engine.models = models = Moving(engine.current)

    def look(version: str) -> tuple[str, str]:
        models.version = version
        asyncio.run(engine.look())
        return engine.current.versions[0].version, engine.reload

    assert look("1") == ("1", "current")
    assert look("2") == ("1", "vitlens-point_cloud/2 cannot be opened: weights that do not fit")
    look("2")
    assert len(models.tried) == 1  # not again before `retry_s`
    assert look("away")[0] == "1"
    assert "no route" in engine.reload
    assert look("3") == ("3", "current")
    assert look("1") == ("1", "current")

"""Every sample is in the index, and what is nearest is found."""

from __future__ import annotations

import io
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.evaluation.embedding import embed
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardRecord
from pipelines.foundation.opening import open_foundation, open_lens
from pipelines.index import graphs, making
from pipelines.index import job as index
from pipelines.index.catalogue import Catalogue
from pipelines.index.items import KINDS, graph_file
from pipelines.index.step import IndexConfig
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifact_store import Build
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import decode_array, encode_array, view_names, write_shard
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.errors import ConfigError, IntegrityError
from vitlens_core.model_files import LENS_FILE
from vitlens_core.precision import takes_bf16


@pytest.fixture(scope="module")
def catalogue(index_artifact: Artifact) -> Catalogue:
    return Catalogue(index_artifact)


def corpus(targets: Artifact) -> list[dict]:
    return [sample for path in targets.shards() for sample in targets.read(path)]


def test_every_sample_of_every_split_is_an_item(
    catalogue: Catalogue, index_artifact: Artifact, targets_artifact: Artifact
) -> None:
    items = [catalogue.item(number) for number in range(len(catalogue))]
    samples = corpus(targets_artifact)
    assert [item.key for item in items] == [s["__key__"] for s in samples]
    assert {item.split for item in items} == {"train", "val", "test"}
    assert index_artifact.manifest.counts == {
        "samples": len(samples),
        **{f"{kind}_vectors": len(samples) for kind in KINDS},
    }
    for item, sample in zip(items, samples, strict=True):
        info = SampleInfo.of(sample)
        known = (info.name, info.label, info.group, info.split)
        assert (item.name, item.label, item.group, item.split) == known
        assert item.licence
        assert item.creator
        assert item.captions == ()
    assert catalogue.label_counts == Counter(item.label for item in items)
    assert catalogue.labels == sorted(catalogue.label_counts)
    assert catalogue.modality == "point_cloud"


def test_vectors_are_the_lens_and_the_means_of_the_targets(
    index_artifact: Artifact,
    targets_artifact: Artifact,
    foundation_artifact: Artifact,
    lens_artifact: Artifact,
) -> None:
    tower, settings = open_lens(lens_artifact, LENS_FILE, open_foundation(foundation_artifact))
    samples = corpus(targets_artifact)
    signal = embed(tower, settings, samples)
    atol = 4e-3 if takes_bf16("auto", torch.device("cpu")) else 1e-5
    stored = [s for tar in index_artifact.shards() for s in index_artifact.read(tar)]
    for sample, found, own in zip(samples, stored, signal, strict=True):
        # Batches of another size: floating-point sums in another order.
        np.testing.assert_allclose(decode_array(found["signal.npy"]), own, atol=atol)
        for kind in ("image", "text"):
            mean = decode_array(sample[f"{kind}_targets.npy"]).astype(np.float32).mean(0)
            expected = mean / np.linalg.norm(mean)
            np.testing.assert_allclose(decode_array(found[f"{kind}.npy"]), expected, atol=1e-6)


def test_a_vector_finds_its_own_item_by_every_kind(
    catalogue: Catalogue, index_artifact: Artifact
) -> None:
    stored = [s for tar in index_artifact.shards() for s in index_artifact.read(tar)]
    for kind in KINDS:
        queries = np.stack([decode_array(s[f"{kind}.npy"]) for s in stored])
        for number, found in enumerate(catalogue.nearest(queries, kind, 3)):
            assert len(found) == 3
            scores = [f.score for f in found]
            assert scores == sorted(scores, reverse=True)
            assert scores[0] == pytest.approx(1, abs=2e-3)  # fp16 vectors
            exact = queries @ queries[number]
            assert exact[found[0].number] == pytest.approx(exact.max(), abs=2e-3)


def test_an_items_vector_is_that_of_the_lens(
    catalogue: Catalogue, index_artifact: Artifact
) -> None:
    stored = [s for tar in index_artifact.shards() for s in index_artifact.read(tar)]
    for number, sample in enumerate(stored):
        found = catalogue.vector(number)
        assert found is not None
        np.testing.assert_allclose(found, decode_array(sample["signal.npy"]), atol=2e-3)  # fp16
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    with pytest.raises(IndexError):
        catalogue.vector(len(catalogue))


def test_thumbnails_are_the_first_views(
    catalogue: Catalogue, index_artifact: Artifact, shards_artifact: Artifact
) -> None:
    shown = [s for path in shards_artifact.shards() for s in shards_artifact.read(path)]
    assert all(view_names(s) for s in shown)
    for number in range(len(catalogue)):
        data = catalogue.thumbnail(number)
        assert data is not None
        picture = Image.open(io.BytesIO(data))
        assert (picture.format, picture.size) == ("WEBP", (32, 32))
    with pytest.raises(IndexError):
        catalogue.thumbnail(len(catalogue))


def test_an_index_that_stands_is_reused(
    flow_runtime: Runtime,
    index_artifact: Artifact,
    shards_artifact: Artifact,
    targets_artifact: Artifact,
    foundation_artifact: Artifact,
    lens_artifact: Artifact,
) -> None:
    inputs = (shards_artifact, targets_artifact, foundation_artifact, lens_artifact)
    again = index.run(flow_runtime, IndexConfig(thumbnail_px=32), *inputs)
    assert again.reused
    assert again.fingerprint == index_artifact.fingerprint


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, catalogue: Catalogue) -> None:
    saved = []
    for name in ("once", "twice"):
        graph = graphs.new_graph(catalogue.embed_dim, IndexConfig())
        vectors = unit(np.random.default_rng(3), 500, catalogue.embed_dim)
        graph.add(np.arange(500), vectors, threads=1)
        graph.save(str(tmp_path / name))
        saved.append((tmp_path / name).read_bytes())
    assert saved[0] == saved[1]


def test_the_graph_finds_what_brute_force_finds() -> None:
    """Recall at 10 over clustered vectors, as embeddings of classes are."""
    rng, count, width = np.random.default_rng(0), 4000, 64
    centres = unit(rng, 40, width)
    vectors = centres[rng.integers(40, size=count)] + 0.6 * unit(rng, count, width)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[:200] + 0.3 * unit(rng, 200, width)
    graph = graphs.new_graph(width, IndexConfig())
    graph.add(np.arange(count), vectors.astype(np.float32), threads=1)
    found = graph.search(queries.astype(np.float32), 10).keys
    exact = np.argsort(-queries @ vectors.T, axis=1)[:, :10]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)])
    assert recall >= 0.97


def test_samples_without_images_have_no_thumbnail_and_no_image_vector(
    runtime: Runtime,
) -> None:
    rng = np.random.default_rng(0)
    info = SampleInfo(name="x", label="", group="x", split="test")
    sample = {
        "__key__": "a",
        "signal.npy": encode_array(unit(rng, 1, 8)[0]),
        "json": info.encode(without={"captions"}),
    }
    build = runtime.store.begin("index", 1, {}, {})
    entry, _ = write_shard(build.folder / "test-00000.tar", [sample])
    records = [ShardRecord(file=entry, samples=1)]
    made = making.finish(runtime, build, IndexConfig(), records, "imu", 8)
    assert made.manifest.counts == {"samples": 1, "signal_vectors": 1}
    stated = made.manifest.model_copy(update={"inputs": {"lens": "0"}})
    opened = Catalogue(Artifact(made.folder, stated))
    assert (opened.kinds, opened.labels, opened.thumbnail(0)) == (["signal"], [], None)
    assert opened.kind_for("text") == "signal"
    with pytest.raises(ConfigError, match="no image vectors in this index; there are signal"):
        opened.nearest(torch.zeros(1, 8).numpy(), "image", 1)


def _made_up(build: Build, shards: int, count: int) -> tuple[list[ShardRecord], np.ndarray]:
    """Shards of so many items each, and their vectors: [item, kind, 8]."""
    rng, records = np.random.default_rng(0), []
    vectors = unit(rng, shards * count * len(KINDS), 8).reshape(shards * count, len(KINDS), 8)
    info = SampleInfo(name="x", label="", group="x", split="train").encode()
    for number in range(shards):
        entry, _ = write_shard(
            build.folder / f"train-{number:05d}.tar",
            [
                {"__key__": f"{number}-{row}", "json": info}
                | {
                    f"{kind}.npy": encode_array(vectors[number * count + row, place])
                    for place, kind in enumerate(KINDS)
                }
                for row in range(count)
            ],
        )
        records.append(ShardRecord(file=entry, samples=count))
    return records, vectors


def _opened(made: Artifact) -> Catalogue:
    stated = made.manifest.model_copy(update={"inputs": {"lens": "0"}})
    return Catalogue(Artifact(made.folder, stated))


def test_the_graphs_of_the_kinds_are_built_at_a_time_and_as_one_after_the_other(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, count = runtime.store.begin("index", 1, {}, {}), 40
    records, vectors = _made_up(build, shards=3, count=count)
    together = threading.Barrier(len(KINDS), timeout=20)
    insert = graphs._Gathered._insert

    def meeting(self: graphs._Gathered, *arguments: Any) -> None:
        together.wait()  # passes only if all kinds are inserted at once
        insert(self, *arguments)

    monkeypatch.setattr(graphs._Gathered, "_insert", meeting)
    made = making.finish(runtime, build, IndexConfig(), records, "imu", 8)
    for number, kind in enumerate(KINDS):
        graph = graphs.new_graph(8, IndexConfig())
        for first in range(0, len(vectors), count):
            rows = vectors[first : first + count, number]
            graph.add(np.arange(first, first + count), rows, threads=1)
        graph.save(str(build.folder / "alone"))
        alone = (build.folder / "alone").read_bytes()
        assert made.path(graph_file(kind, 0)).read_bytes() == alone


def test_an_index_of_parts_finds_what_one_graph_finds(runtime: Runtime, tmp_path: Path) -> None:
    """Built by tasks of Ray, by this process, and as one graph."""
    whole, parts, *catalogues = IndexConfig(), IndexConfig(items_per_graph=50)
    for number, (config, given) in enumerate(
        [(whole, runtime), (parts, runtime), (parts, quiet_runtime(tmp_path, render_workers=0))]
    ):
        build = given.store.begin("index", number, {}, {})
        records, vectors = _made_up(build, shards=5, count=20)
        made = making.finish(given, build, config, records, "imu", 8)
        made.verify()
        names = {file.name for file in made.manifest.files if "signal" in file.name}
        expected = range(1 if config is whole else 3)  # of two shards, two, and one
        assert names == {f"signal-{part:05d}.usearch" for part in expected}
        assert not list(made.folder.glob("part-*"))
        assert not list(made.folder.glob("items-*"))
        catalogues.append(_opened(made))
    queries = unit(np.random.default_rng(1), 7, 8)
    for number, kind in enumerate(KINDS):
        exact = np.argsort(-queries @ vectors[:, number].T, axis=1)[:, :5]
        for catalogue in catalogues:
            found = catalogue.nearest(queries, kind, 5)
            assert [[each.number for each in row] for row in found] == exact.tolist()
    for catalogue in catalogues:
        assert [catalogue.item(number).key for number in (0, 59, 99)] == ["0-0", "2-19", "4-19"]
        for number in (0, 39, 40, 99):
            vector = catalogue.vector(number)
            assert vector is not None
            np.testing.assert_allclose(vector, vectors[number, 0], atol=2e-3)  # fp16


def test_a_killed_index_goes_on_at_the_parts_that_are_missing(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, config = runtime.store.begin("index", 1, {}, {}), IndexConfig(items_per_graph=20)
    here = replace(runtime, resources=runtime.resources.model_copy(update={"render_workers": 0}))
    records, _ = _made_up(build, shards=3, count=20)
    insert, began = graphs._Gathered._insert, []

    def killed(self: graphs._Gathered, *arguments: Any) -> None:
        began.append(self._part.number)
        if self._part.number == 1:
            raise KeyboardInterrupt
        insert(self, *arguments)

    monkeypatch.setattr(graphs._Gathered, "_insert", killed)
    with pytest.raises(KeyboardInterrupt):
        making.finish(here, build, config, records, "imu", 8)
    assert build.existing is None
    assert set(began) == {0, 1}
    monkeypatch.setattr(graphs._Gathered, "_insert", lambda s, *a: (began.append(2), insert(s, *a)))
    made = making.finish(here, build, config, records, "imu", 8)
    assert began[-6:] == [2] * 6  # two parts of three kinds
    assert len(_opened(made)) == 60


def test_another_artifact_is_no_index(lens_artifact: Artifact) -> None:
    with pytest.raises(ConfigError, match="is no index but an artifact of lens"):
        Catalogue(lens_artifact)


def test_each_query_is_compared_with_what_suits_it(catalogue: Catalogue) -> None:
    assert [catalogue.kind_for(m) for m in ("point_cloud", "text", "depth")] == [
        "signal",
        "image",
        "image",
    ]


def unit(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    vectors = rng.normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "place",
    [
        ("../../secret", 0, 10),
        ("/etc/passwd", 0, 10),
        ("manifest.json", 0, 10),
        ("index.json", 0, 10),
        (None, 0, 2**40),
        (None, -5, 10),
        (None, 0, -1),
    ],
)
def test_a_thumbnail_is_a_part_of_the_index(
    index_artifact: Artifact, place: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an index that somebody else wrote."""
    catalogue = Catalogue(index_artifact)
    item = catalogue.item(0)
    assert item.thumbnail is not None
    forged = item.model_copy(update={"thumbnail": (place[0] or item.thumbnail[0], *place[1:])})
    monkeypatch.setattr(catalogue, "item", lambda number: forged)
    with pytest.raises(IntegrityError, match="no part of the index"):
        catalogue.thumbnail(0)

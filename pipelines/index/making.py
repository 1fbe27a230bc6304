"""making: embeds every sample, and builds one graph per kind of vectors."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from upath import UPath

from pipelines.evaluation.embedding import embed, unit
from pipelines.execution.bulk import write_shards
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardTask, tasks_of
from pipelines.foundation.info import read_info
from pipelines.foundation.opening import open_foundation, open_lens
from pipelines.index.items import (
    INDEX_FILE,
    ITEMS_FILE,
    KINDS,
    IndexInfo,
    IndexItem,
    VectorKind,
    graph_file,
)
from pipelines.index.step import STEP, IndexConfig
from pipelines.renders.thumbnails import thumbnail
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifact_store import Build
from pipelines.store.artifacts import Artifact
from pipelines.store.files import FileEntry, atomic_file, store_file, write_atomic
from pipelines.store.shards import (
    OpenShard,
    Sample,
    decode_array,
    encode_array,
    encode_model,
    targets_file,
)
from pipelines.targets.stored import decode_targets
from vitlens_core.model_files import LENS_FILE
from vitlens_core.scratch import Scratch

if TYPE_CHECKING:
    from usearch.index import Index

THUMBNAIL = "thumbnail.webp"
_OF_ITEMS = ("json", *(f"{kind}.npy" for kind in KINDS))  # all but the thumbnail
_VIEW = "view00.png"
_LEFT_OUT = {"captions"}


def make(
    runtime: Runtime,
    build: Build,
    config: IndexConfig,
    shards: Artifact,
    targets: Artifact,
    foundation: Artifact,
    lens: Artifact,
) -> Artifact:
    """Embed every sample and build the graphs; Ray Data actors hold the tower."""
    device = runtime.resources.device
    processor = partial(IndexBuilder, config, shards, targets, foundation, lens, device)
    tasks = tasks_of(targets)
    records = write_shards(runtime, build, tasks, processor, encodes=True)
    tars = [build.folder / record.file.name for record in records]
    width = read_info(foundation).embed_dim
    with runtime.progress(STEP.name, len(tars), "graphs of shards") as bar:
        gathered = _Gathered(build, config, width)
        for tar in tars:
            gathered.add(tar)
            bar.advance()
    modality = lens.manifest.config["modality"]
    files, counts = gathered.write(modality)
    return build.commit([*(record.file for record in records), *files], counts)


class IndexBuilder:
    """Embeds the samples of a shard, and adds their records and thumbnails."""

    def __init__(
        self,
        config: IndexConfig,
        shards: Artifact,
        targets: Artifact,
        foundation: Artifact,
        lens: Artifact,
        device: str,
    ) -> None:
        self.config = config
        self.shards, self.targets = shards, targets
        tower, self.settings = open_lens(lens, LENS_FILE, open_foundation(foundation))
        self.tower = tower.to(device)

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        embedded = list(self.targets.read(task.name))
        if not embedded:
            return
        vectors = self._vectors(embedded)
        paired = self.shards.read(task.name, only=("json", _VIEW))
        for sample, pair, vector in zip(embedded, paired, vectors, strict=True):
            assert sample["__key__"] == pair["__key__"], "targets have the order of their shards"
            by_kind = {"signal": vector, **_means(sample)}
            yield {
                "__key__": pair["__key__"],
                **{f"{kind}.npy": encode_array(by_kind[kind]) for kind in by_kind},
                **self._thumbnail(pair),
                "json": SampleInfo.of(pair).encode(without=_LEFT_OUT),
            }

    def _vectors(self, samples: list[Sample]) -> np.ndarray:
        """Embed all samples of a shard [B, E], one batch at a time."""
        size = self.config.batch_size
        batches = [samples[start : start + size] for start in range(0, len(samples), size)]
        return np.concatenate([embed(self.tower, self.settings, batch) for batch in batches])

    def _thumbnail(self, sample: Sample) -> Sample:
        if _VIEW not in sample:
            return {}
        picture, buffer = thumbnail(sample[_VIEW], self.config.thumbnail_px), io.BytesIO()
        Image.Image.save(picture, buffer, format="webp", quality=80, method=4)
        return {THUMBNAIL: buffer.getvalue()}


def _means(sample: Sample) -> dict[VectorKind, np.ndarray]:
    """Return the unit-norm means of the image and caption targets, if there are any."""
    means: dict[VectorKind, np.ndarray] = {}
    of_targets: tuple[VectorKind, ...] = ("image", "text")
    for kind in of_targets:
        targets = decode_targets(sample[targets_file(kind)])
        if len(targets):
            means[kind] = unit(targets.mean(axis=0))
    return means


class _Gathered:
    """Gathers the graphs, the labels and the lines of `items.jsonl` as tars are added in order."""

    def __init__(self, build: Build, config: IndexConfig, width: int) -> None:
        self._folder, self._width = build.folder, width
        self._graphs = {kind: new_graph(width, config) for kind in KINDS}
        self._labels: Counter[str] = Counter()
        self._lines = tempfile.TemporaryFile()  # noqa: SIM115  ends with this object
        self._count = 0

    def add(self, tar: UPath) -> None:
        shard = OpenShard(tar)
        vectors: dict[VectorKind, list[np.ndarray]] = {kind: [] for kind in KINDS}
        numbers: dict[VectorKind, list[int]] = {kind: [] for kind in KINDS}
        for row in range(len(shard)):
            sample = shard.read(row, _OF_ITEMS)
            kinds = [kind for kind in KINDS if f"{kind}.npy" in sample]
            for kind in kinds:
                vectors[kind].append(decode_array(sample[f"{kind}.npy"]))
                numbers[kind].append(self._count)
            place = shard.places(row).get(THUMBNAIL)
            self._write_line(tar.name, sample, kinds, place)
            self._count += 1
        # A thread for each graph, and no more: the order of insertion decides it and its bytes.
        with ThreadPoolExecutor(len(KINDS), thread_name_prefix="graph") as threads:
            with_rows = [kind for kind, rows in vectors.items() if rows]
            of_kinds = [(kind, numbers[kind], vectors[kind]) for kind in with_rows]
            list(threads.map(self._insert, *zip(*of_kinds, strict=True)))

    def _insert(self, kind: VectorKind, numbers: list[int], rows: list[np.ndarray]) -> None:
        self._graphs[kind].add(np.array(numbers), np.stack(rows), threads=1)

    def _write_line(
        self, tar: str, sample: Sample, kinds: list[VectorKind], place: tuple[int, int] | None
    ) -> None:
        info = SampleInfo.of(sample)
        if info.label:
            self._labels[info.label] += 1
        item = IndexItem(
            **info.model_dump(),
            key=sample["__key__"],
            vectors=tuple(kinds),
            thumbnail=(tar, *place) if place else None,
        )
        self._lines.write(item.encode(without=_LEFT_OUT) + b"\n")

    def write(self, modality: str) -> tuple[list[FileEntry], dict[str, int]]:
        """Write everything but the tars, and return the files and the artifact's counts."""
        kinds = {kind: len(graph) for kind, graph in self._graphs.items() if len(graph)}
        info = IndexInfo(
            modality=modality,
            embed_dim=self._width,
            vectors=kinds,
            labels=dict(sorted(self._labels.items())),
            items=self._count,
        )
        files = [write_atomic(self._folder / INDEX_FILE, encode_model(info))]
        self._lines.seek(0)
        with self._lines, atomic_file(self._folder / ITEMS_FILE) as file:
            shutil.copyfileobj(self._lines, file)
        files.append(file.entry)
        files += [_saved(self._graphs[kind], self._folder / graph_file(kind)) for kind in kinds]
        counts = {f"{kind}_vectors": number for kind, number in kinds.items()}
        return files, {"samples": self._count, **counts}


def new_graph(width: int, config: IndexConfig) -> Index:
    """Create an empty usearch index: inner products of fp16 vectors [width]."""
    from usearch.index import Index

    return Index(
        ndim=width,
        metric="ip",
        dtype="f16",
        connectivity=config.connectivity,
        expansion_add=config.expansion_add,
        expansion_search=config.expansion_search,
    )


def _saved(graph: Index, path: UPath) -> FileEntry:
    with Scratch("graph") as folder:
        local = Path(folder, path.name)
        graph.save(str(local))
        return store_file(local, path)

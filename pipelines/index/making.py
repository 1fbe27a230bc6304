"""making: embeds every sample shard by shard, then has the graphs built part by part."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from PIL import Image
from upath import UPath

from pipelines.evaluation.embedding import embed, unit
from pipelines.execution.bulk import write_shards
from pipelines.execution.remote import each_as_task
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardRecord, ShardTask, tasks_of
from pipelines.foundation.info import read_info
from pipelines.foundation.opening import open_foundation, open_lens
from pipelines.index.graphs import LEFT_OUT, THUMBNAIL, Part, PartRecord, build_part, parts_of
from pipelines.index.items import INDEX_FILE, ITEMS_FILE, KINDS, IndexInfo, VectorKind
from pipelines.index.step import STEP, IndexConfig
from pipelines.renders.thumbnails import thumbnail
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifact_store import Build
from pipelines.store.artifacts import Artifact
from pipelines.store.files import FileEntry, atomic_file, write_atomic
from pipelines.store.requests import remove
from pipelines.store.shards import Sample, encode_array, encode_model, targets_file
from pipelines.targets.stored import decode_targets
from vitlens_core.model_files import LENS_FILE

_VIEW = "view00.png"


def make(
    runtime: Runtime,
    build: Build,
    config: IndexConfig,
    shards: Artifact,
    targets: Artifact,
    foundation: Artifact,
    lens: Artifact,
) -> Artifact:
    """Embed every sample and build the graphs; Ray Data actors hold the tower, tasks the graphs."""
    device = runtime.resources.device
    processor = partial(IndexBuilder, config, shards, targets, foundation, lens, device)
    tasks = tasks_of(targets)
    records = write_shards(runtime, build, tasks, processor, encodes=True)
    modality, width = lens.manifest.config["modality"], read_info(foundation).embed_dim
    return finish(runtime, build, config, records, modality, width)


def finish(
    runtime: Runtime,
    build: Build,
    config: IndexConfig,
    records: Sequence[ShardRecord],
    modality: str,
    width: int,
) -> Artifact:
    """Build the graphs of finished shards, and commit the index."""
    parts, built = parts_of(records, config.items_per_graph), []
    build_one = partial(build_part, build.folder, config, width)
    with runtime.progress(STEP.name, len(parts), "parts of graphs") as bar:
        for record in each_as_task(runtime, build_one, parts):
            built.append(record)
            bar.advance()
    info = _whole(modality, width, parts, built)
    files = [
        write_atomic(build.folder / INDEX_FILE, encode_model(info)),
        _joined(build.folder, parts),
        *(graph for record in built for graph in record.graphs),
        *(record.file for record in records),
    ]
    vectors = {f"{kind}_vectors": number for kind, number in info.vectors.items()}
    made = build.commit(files, {"samples": info.items, **vectors})
    # What the files above have.
    remove(build.folder / name for part in parts for name in (part.record_file, part.items_file))
    return made


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
                "json": SampleInfo.of(pair).encode(without=LEFT_OUT),
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


def _whole(
    modality: str, width: int, parts: Sequence[Part], built: Sequence[PartRecord]
) -> IndexInfo:
    labels: Counter[str] = Counter()
    vectors: Counter[VectorKind] = Counter()
    for record in built:
        labels.update(record.labels)
        vectors.update(record.vectors)
    return IndexInfo(
        modality=modality,
        embed_dim=width,
        vectors={kind: vectors[kind] for kind in KINDS if vectors[kind]},
        labels=dict(sorted(labels.items())),
        items=sum(record.items for record in built),
        parts=tuple(part.first for part in parts),
    )


def _joined(folder: UPath, parts: Sequence[Part]) -> FileEntry:
    """Write the lines of all parts into one file."""
    with atomic_file(folder / ITEMS_FILE) as file:
        for part in parts:
            with (folder / part.items_file).open("rb") as lines:
                shutil.copyfileobj(lines, file)
    return file.entry

"""graphs: builds the graphs and the lines of a part of the corpus, from the tars of its shards.

A part is some whole shards in order. Parts are built side by side, and a search asks the graphs of
all of them: one graph of ten million vectors takes a day of one thread, and memory for all of them.

Writes    `<vectors>-NNNNN.usearch`, `items-NNNNN.jsonl`, and `part-NNNNN.json` last; a part that
          has one is not built again.
Promises  the same bytes whatever builds it: one thread inserts the vectors of a graph, in order.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from upath import UPath

from pipelines.execution.shard_tasks import ShardRecord
from pipelines.index.items import KINDS, IndexItem, VectorKind, graph_file
from pipelines.index.step import IndexConfig
from pipelines.shards.sample import SampleInfo
from pipelines.store.files import FileEntry, atomic_file, store_file, write_atomic
from pipelines.store.shards import OpenShard, Sample, decode_array, encode_model
from vitlens_core.scratch import Scratch

if TYPE_CHECKING:
    from usearch.index import Index

THUMBNAIL = "thumbnail.webp"
LEFT_OUT = {"captions"}  # of an item's record
_OF_ITEMS = ("json", *(f"{kind}.npy" for kind in KINDS))  # all but the thumbnail


class Part(BaseModel):
    """Some shards in order."""

    model_config = ConfigDict(frozen=True)

    number: int
    first: int = Field(description="number of its first item")
    tars: tuple[str, ...]

    @property
    def items_file(self) -> str:
        return f"items-{self.number:05d}.jsonl"

    @property
    def record_file(self) -> str:
        return f"part-{self.number:05d}.json"


class PartRecord(BaseModel):
    """What was built of a part."""

    model_config = ConfigDict(frozen=True)

    graphs: tuple[FileEntry, ...]
    vectors: dict[VectorKind, int] = Field(description="how many there are, by kind")
    labels: dict[str, int] = Field(description="items by class")
    items: int


def parts_of(records: Iterable[ShardRecord], most: int) -> list[Part]:
    """Divide shards into parts of at most `most` items; a larger shard is a part of its own."""
    parts: list[Part] = []
    first, filled, tars = 0, 0, list[str]()
    for record in records:
        if tars and filled + record.samples > most:
            parts.append(Part(number=len(parts), first=first, tars=tuple(tars)))
            first, filled, tars = first + filled, 0, []
        filled += record.samples
        tars.append(record.file.name)
    return [*parts, Part(number=len(parts), first=first, tars=tuple(tars))] if tars else parts


def build_part(folder: UPath, config: IndexConfig, width: int, part: Part) -> PartRecord:
    """Build what a part lacks, and return its record."""
    record = folder / part.record_file
    if record.exists():
        return PartRecord.model_validate_json(record.read_bytes())
    built = _Gathered(folder, config, width, part).built()
    write_atomic(record, encode_model(built))
    return built


class _Gathered:
    """Gathers the graphs, the labels and the lines of a part."""

    def __init__(self, folder: UPath, config: IndexConfig, width: int, part: Part) -> None:
        self._folder, self._part = folder, part
        self._graphs = {kind: new_graph(width, config) for kind in KINDS}
        self._labels: Counter[str] = Counter()
        self._count = 0

    def built(self) -> PartRecord:
        with tempfile.TemporaryFile() as lines:
            for tar in self._part.tars:
                lines.writelines(self._add(self._folder / tar))
            lines.seek(0)
            with atomic_file(self._folder / self._part.items_file) as file:
                shutil.copyfileobj(lines, file)
        vectors = {kind: len(graph) for kind, graph in self._graphs.items() if len(graph)}
        number = self._part.number
        paths = {kind: self._folder / graph_file(kind, number) for kind in vectors}
        return PartRecord(
            graphs=tuple(_saved(self._graphs[kind], path) for kind, path in paths.items()),
            vectors=vectors,
            labels=dict(self._labels),
            items=self._count,
        )

    def _add(self, tar: UPath) -> Iterator[bytes]:
        """Insert the vectors of a shard, and yield the lines of its items."""
        shard = OpenShard(tar)
        vectors: dict[VectorKind, list[np.ndarray]] = {kind: [] for kind in KINDS}
        numbers: dict[VectorKind, list[int]] = {kind: [] for kind in KINDS}
        for row in range(len(shard)):
            sample = shard.read(row, _OF_ITEMS)
            kinds = [kind for kind in KINDS if f"{kind}.npy" in sample]
            for kind in kinds:
                vectors[kind].append(decode_array(sample[f"{kind}.npy"]))
                numbers[kind].append(self._part.first + self._count)
            place = shard.places(row).get(THUMBNAIL)
            yield self._line(tar.name, sample, kinds, place)
            self._count += 1
        # A thread for each graph, and no more: the order of insertion decides it and its bytes.
        with ThreadPoolExecutor(len(KINDS), thread_name_prefix="graph") as threads:
            with_rows = [kind for kind, rows in vectors.items() if rows]
            of_kinds = [(kind, numbers[kind], vectors[kind]) for kind in with_rows]
            list(threads.map(self._insert, *zip(*of_kinds, strict=True)))

    def _insert(self, kind: VectorKind, numbers: list[int], rows: list[np.ndarray]) -> None:
        self._graphs[kind].add(np.array(numbers), np.stack(rows), threads=1)

    def _line(
        self, tar: str, sample: Sample, kinds: list[VectorKind], place: tuple[int, int] | None
    ) -> bytes:
        info = SampleInfo.of(sample)
        if info.label:
            self._labels[info.label] += 1
        item = IndexItem(
            **info.model_dump(),
            key=sample["__key__"],
            vectors=tuple(kinds),
            thumbnail=(tar, *place) if place else None,
        )
        return item.encode(without=LEFT_OUT) + b"\n"


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

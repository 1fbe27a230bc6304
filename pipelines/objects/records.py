"""records: stores a mirror's annotations of its objects as columns on the local disk.

Writes    an Arrow file in the folder for temporary files, deleted with the table.
Promises  only what is read is in memory: the file is mapped, and rows are read in batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import pyarrow as pa

from vitlens_core.scratch import Scratch

_BATCH_ROWS = 4096  # rows written or read at a time

Item = TypeVar("Item")


@dataclass(frozen=True)
class ObjectRecord:
    """A mirror's annotations of one object. Missing ones are None or empty."""

    uid: str
    path: str  # relative to the mirror's folder
    label: str | None = None
    name: str = ""
    tags: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()  # as the mirror has them
    texts: tuple[str, ...] = ()  # of caption tables
    text_weights: tuple[float, ...] = ()  # how often each text is drawn; 1 is all other captions
    licence: str | None = None  # as Objaverse spells it: by, by-sa, by-nc, by-nc-sa, cc0
    creator: str | None = None
    size_bytes: int | None = None
    mirror: str = ""  # name of a further mirror
    home: str = ""  # folder of the files that belong to it, where they are not all in its own


_SCHEMA = pa.schema(
    {
        "uid": pa.string(),
        "path": pa.string(),
        "label": pa.string(),
        "name": pa.string(),
        "tags": pa.list_(pa.string()),
        "categories": pa.list_(pa.string()),
        "captions": pa.list_(pa.string()),
        "texts": pa.list_(pa.string()),
        "text_weights": pa.list_(pa.float64()),
        "licence": pa.string(),
        "creator": pa.string(),
        "size_bytes": pa.int64(),
        "mirror": pa.string(),
        "home": pa.string(),
    }
)


class RecordTable:
    """Object records by row; close it, or use it in a `with`."""

    def __init__(self, records: Iterable[ObjectRecord]) -> None:
        self._folder = Scratch("records")
        path = str(self._folder.path / "records.arrow")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, _SCHEMA) as writer:
            for rows in _batches(records):
                fields = [vars(record) for record in rows]
                writer.write_batch(pa.RecordBatch.from_pylist(fields, _SCHEMA))
        self._table = pa.ipc.open_file(pa.memory_map(path)).read_all()

    def __enter__(self) -> RecordTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def __len__(self) -> int:
        return len(self._table)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a field of every record, in the order of the records."""
        return self._table[name]

    def uids(self) -> Iterator[str]:
        for chunk in self.column("uid").chunks:
            yield from chunk.to_pylist()

    def rows(self, numbers: Iterable[int]) -> Iterator[dict[str, object]]:
        """Yield the fields of the records `numbers`, in this order; tuples come as lists."""
        for batch in _batches(numbers):
            yield from self._table.take(pa.array(batch, pa.int64())).to_pylist()


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    items = iter(items)
    while batch := list(islice(items, _BATCH_ROWS)):
        yield batch

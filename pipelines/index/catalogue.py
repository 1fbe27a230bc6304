"""catalogue: an index opened for searching.

Reads     an index artifact: `index.json`, `items.jsonl`, its graphs and, one at a time, the
          thumbnails in its tars. Files in an object store, except thumbnails, are copied to a
          local folder first.
Promises  graphs and items are mapped, not loaded; several threads may use it at once.
Axes: Q queries, E embedding.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.index.items import (
    INDEX_FILE,
    ITEMS_FILE,
    KINDS,
    IndexInfo,
    IndexItem,
    VectorKind,
    graph_file,
)
from pipelines.index.step import STEP
from pipelines.store.artifacts import Artifact
from pipelines.store.files import local_file
from vitlens_core.errors import ConfigError, IntegrityError
from vitlens_core.scratch import Scratch

if TYPE_CHECKING:
    from usearch.index import Index

_NEWLINE = 10
_HELD_OUT = "test"
_EXAMPLES = 8
_LOOKED_AT = 4096  # of a corpus of millions of lines, which would take minutes to read
_THUMBNAIL_BYTES = 2**22
_WEBP_HEAD = 12  # RIFF, the size of what follows, WEBP


@dataclass(frozen=True)
class Found:
    """One item, with the cosine between its vector and the query's."""

    number: int
    score: float
    item: IndexItem


class Catalogue:
    """Items of a corpus, found by their vectors.

    Attributes:
        name: beginning of the index's fingerprint.
        modality: modality of the lens that made the `signal` vectors.
        kinds: the kinds of vectors it has, of `pipelines.index.items.KINDS`.
        label_counts: items of every class of the corpus, by name.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Open the index.

        Raises:
            ConfigError: the artifact is another step's.
            IntegrityError: a file differs from the artifact's manifest.
        """
        if artifact.manifest.step != STEP.name:
            raise ConfigError(
                f"{artifact.folder} is no index but an artifact of {artifact.manifest.step}"
            )
        info = artifact.read_model(INDEX_FILE, IndexInfo)
        self.modality, self.embed_dim = info.modality, info.embed_dim
        self.label_counts = info.labels
        self.kinds = [kind for kind in KINDS if kind in info.vectors]
        self.name = artifact.fingerprint[:16]
        self.lens: str = artifact.manifest.inputs["lens"]
        self._artifact = artifact
        self._tars = {file.name for file in artifact.manifest.files if file.name.endswith(".tar")}
        self._scratch = Scratch("index")
        self._firsts = info.parts
        self._graphs = {kind: self._parts(kind) for kind in self.kinds}
        self._lines = self._mapped(ITEMS_FILE)
        ends = np.flatnonzero(np.frombuffer(self._lines, np.uint8) == _NEWLINE)
        self._bounds = np.concatenate([[0], ends + 1])

    @property
    def labels(self) -> list[str]:
        """Every class of the corpus, sorted."""
        return sorted(self.label_counts)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def kind_for(self, modality: str) -> VectorKind:
        """Return the best kind of vectors for a query of `modality`.

        These are lens vectors for the lens's own modality, and for any other query images, which
        lie nearest to all modalities.
        """
        others: tuple[VectorKind, ...] = ("image", "text", "signal")
        wanted: tuple[VectorKind, ...] = ("signal", *others)
        ordered = wanted if modality == self.modality else others
        return next(kind for kind in ordered if kind in self.kinds)

    def nearest(self, queries: np.ndarray, kind: VectorKind, count: int) -> list[list[Found]]:
        """Return the `count` items whose vectors of `kind` are nearest to each query [Q, E].

        Raises:
            ConfigError: no item has such vectors.
        """
        from usearch.index import BatchMatches  # late: only a service with an index needs it

        if kind not in self._graphs:
            raise ConfigError(f"no {kind} vectors in this index; there are {', '.join(self.kinds)}")
        queries = np.ascontiguousarray(np.atleast_2d(queries), dtype=np.float32)
        nearest: list[list[tuple[float, int]]] = [[] for _ in queries]
        for graph in self._graphs[kind].values():
            matches = graph.search(queries, count)
            # usearch returns no batch for a single query
            rows = matches if isinstance(matches, BatchMatches) else [matches]
            for row, found in enumerate(nearest):
                found.extend((float(match.distance), int(match.key)) for match in rows[row])
        return [self._found(sorted(found)[:count]) for found in nearest]

    def item(self, number: int) -> IndexItem:
        """Return the record of an item (`IndexError`: no item has this number)."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        start, end = self._bounds[number : number + 2]
        return IndexItem.model_validate_json(self._lines[start:end])

    def vector(self, number: int) -> np.ndarray | None:
        """Return the lens's vector of an item [E], unit norm; None if it has none.

        Raises:
            IndexError: no such item.
        """
        if "signal" not in self.item(number).vectors or "signal" not in self._graphs:
            return None
        graph = self._graphs["signal"][bisect_right(self._firsts, number) - 1]
        stored = graph.get(number, dtype="f32")
        if not isinstance(stored, np.ndarray):
            return None
        vector = stored.reshape(-1)
        return vector / np.linalg.norm(vector)  # stored as fp16

    @cached_property
    def examples(self) -> list[int]:
        """Some held-out items, of as many classes as can be; the same ones each time."""
        size = min(len(self), _LOOKED_AT)
        of_class: dict[str, int] = {}
        more: list[int] = []
        for number in np.random.default_rng(0).choice(len(self), size, replace=False).tolist():
            item = self.item(number)
            if item.split != _HELD_OUT or "signal" not in item.vectors:
                continue
            if of_class.setdefault(item.label or item.key, number) != number:
                more.append(number)
            if len(of_class) == _EXAMPLES:
                break
        return [*of_class.values(), *more][:_EXAMPLES]

    def thumbnail(self, number: int) -> bytes | None:
        """Return an item's first view as WebP, or None without views.

        Raises:
            IndexError: no such item.
            IntegrityError: what lies there is no part of the index, or no WebP.
        """
        place = self.item(number).thumbnail
        if place is None:
            return None
        tar, start, size = place
        if tar not in self._tars or not 0 <= size <= _THUMBNAIL_BYTES or start < 0:
            raise IntegrityError(
                f"{self._artifact.folder}: the thumbnail of item {number} is said to be {size:,} "
                f"bytes at {start} of {tar[:80]!r}, which is no part of the index; make it again"
            )
        with self._artifact.path(tar).open("rb") as file:
            file.seek(start)
            picture = file.read(size)
        if not _is_webp(picture, size):
            raise IntegrityError(
                f"{self._artifact.path(tar)}: the thumbnail of item {number} is no WebP but "
                f"{picture[:12]!r}; delete {self._artifact.folder} and run again"
            )
        return picture

    def _found(self, matches: Iterable[tuple[float, int]]) -> list[Found]:
        return [Found(number, 1 - distance, self.item(number)) for distance, number in matches]

    def _parts(self, kind: VectorKind) -> dict[int, Index]:
        """Open a kind's graphs, by part; a part without such vectors has none."""
        from usearch.index import Index

        graphs, present = {}, {file.name for file in self._artifact.manifest.files}
        for part in range(len(self._firsts)):
            if (name := graph_file(kind, part)) in present:
                graph = Index.restore(str(self._local(name)), view=True)
                assert graph is not None, "a finished index has its graphs"
                graphs[part] = graph
        return graphs

    def _mapped(self, name: str) -> mmap.mmap:
        with self._local(name).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _local(self, name: str) -> Path:
        self._artifact.check(name)  # a damaged graph would end this process
        return local_file(self._artifact.path(name), self._scratch.path)


def _is_webp(picture: bytes, size: int) -> bool:
    """Whether it is a whole WebP: browsers are told that it is, and no other content is served."""
    head = picture[:_WEBP_HEAD]
    if len(picture) != size or len(head) < _WEBP_HEAD:
        return False
    stated = int.from_bytes(head[4:8], "little") + 8
    return head[:4] == b"RIFF" and head[8:] == b"WEBP" and size - stated in (0, 1)

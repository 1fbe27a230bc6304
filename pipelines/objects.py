"""objects: the selected GLBs of a mirror, whole and checked, with their annotations.

Reads     an Objaverse mirror (embedded, a folder, any fsspec URL).
Writes    `<split>-NNNNN.tar`: per object `<uid>.glb` and `<uid>.json` (name, tags,
          categories, label, licence, creator, split, sha256).
Promises  no object on two sides of the split; a shard holds one split; objects that cannot
          be fetched are quarantined with the reason.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from pydantic import Field

from pipelines.artifacts import Artifact, Quarantined, digest
from pipelines.cluster import ShardTask, commit_shards, write_shards
from pipelines.mirror import Mirror, ObjectRecord, open_mirror
from pipelines.pieces import Piece
from pipelines.runtime import Runtime
from pipelines.selection import SelectedObject, Selection, select
from pipelines.shard_io import Sample, encode_json
from pipelines.splits import cut_into_shards
from vitlens_core.errors import BadSampleError, TransientError

STEP = "objects"
VERSION = 1


class ObjectsConfig(Selection):
    """Which objects, from where."""

    mirror: str = Field(
        "embedded",
        description="`embedded` (the shipped objects), `objaverse`, or a folder or fsspec URL",
    )
    objects_per_shard: int = Field(512, ge=1, description="bound of a shard's size")
    check_size: bool = Field(
        True, description="quarantine a file whose size differs from its annotation"
    )


def run(runtime: Runtime, config: ObjectsConfig, piece: Piece | None = None) -> Artifact:
    """Select, split and fetch.

    Args:
        piece: fetch these shards only; the artifact stays unfinished, and a part is returned.

    Raises:
        ConfigError: no mirror there, unknown classes or licences, or nothing selected.
    """
    mirror = open_mirror(config.mirror)
    selected = select(mirror.records(_wanted(mirror, config)), config)
    # What the mirror holds is the input; where it lies is not part of the identity.
    content = digest([_identity(mirror, item) for item in selected])
    settings = config.model_dump(mode="json", exclude={"mirror"})
    build = runtime.store.begin(STEP, VERSION, settings, {}, content, part=piece is not None)
    if build.existing:
        return build.existing
    tasks = shard_tasks(selected, config.objects_per_shard)
    if piece:
        tasks = list(piece.of(tasks))
    records = write_shards(runtime, build, tasks, partial(FetchStage, mirror, config))
    refused = [
        Quarantined(key=uid, step=STEP, reason=reason)
        for uid, reason in mirror.quarantined().items()
    ]
    return commit_shards(build, records, refused)


def shard_tasks(selected: list[SelectedObject], objects_per_shard: int) -> list[ShardTask]:
    """Cut each split into shards, in an order that mixes the classes and never changes."""
    shards = cut_into_shards(
        selected, lambda item: item.split, lambda item: item.record.uid, objects_per_shard
    )
    return [
        ShardTask(name, tuple({**asdict(item.record), "split": item.split} for item in items))
        for name, items in shards
    ]


class FetchStage:
    """Fetches one shard's objects from the mirror."""

    def __init__(self, mirror: Mirror, config: ObjectsConfig) -> None:
        self.mirror = mirror
        self.check_size = config.check_size

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        with tempfile.TemporaryDirectory(prefix="vitlens-objects-") as folder:
            for item in task.items:
                yield self._fetch(dict(item), Path(folder))

    def _fetch(self, item: dict, folder: Path) -> Sample | Quarantined:
        split = item.pop("split")
        record = ObjectRecord(**item)
        if not self.check_size:
            record = replace(record, size_bytes=None)
        try:
            fetched = self.mirror.fetch(record, folder)
        except (BadSampleError, TransientError) as error:
            return Quarantined(key=record.uid, step=STEP, reason=str(error))
        described = {**item, "split": split, "sha256": fetched.sha256}
        data = fetched.path.read_bytes()
        fetched.path.unlink()
        return {"__key__": record.uid, "glb": data, "json": encode_json(described)}


def _wanted(mirror: Mirror, config: ObjectsConfig) -> Iterable[str] | None:
    """The uids whose annotations are needed: a remote mirror keeps them in many parts."""
    if config.uids is not None:
        return config.uids
    return mirror.labels() if config.labelled_only else None


def _identity(mirror: Mirror, item: SelectedObject) -> dict:
    """An object as it enters the fingerprint; a local file also by its size as it lies."""
    identity = {**asdict(item.record), "split": item.split}
    if mirror.is_local:
        path = Path(mirror.root, item.record.path)
        identity["bytes_found"] = path.stat().st_size if path.is_file() else None
    return identity

"""shard_tasks: what a bulk step is made of: tasks, what turns them into samples, and records.

Writes    `<name>.record.json` beside each tar; a shard is done if it has one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field
from upath import UPath

from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.files import FileEntry
from pipelines.store.requests import side_by_side
from pipelines.store.shards import Sample


@dataclass(frozen=True)
class ShardTask:
    """One shard to make, by its name (`train-00000`).

    The worker reads what it is made of from an input's shard or a plan, so that neither this
    process nor Ray holds anything per sample.
    """

    name: str


class ShardRecord(BaseModel):
    """The result of one task; written after its tar."""

    model_config = ConfigDict(frozen=True)

    file: FileEntry = Field(description="the shard's tar")
    samples: int = Field(description="number of samples in the tar")
    quarantined: tuple[Quarantined, ...] = Field((), description="samples left out of the tar")
    made_with: str = Field("", description="what made it, where bytes depend on it: a renderer")


class ShardProcessor(Protocol):
    """Turns a task into samples; it is built once per worker, so it may load a model."""

    def samples(self, task: ShardTask) -> Iterable[Sample | Quarantined]: ...


@runtime_checkable
class Closable(Protocol):
    """A processor with child processes that must be ended with it."""

    def close(self) -> None: ...


@runtime_checkable
class MadeWith(Protocol):
    """A processor whose bytes depend on a device; it names that device after its first sample."""

    made_with: str


def is_done(folder: UPath, name: str) -> bool:
    """Whether a shard is made."""
    return record_path(folder, name).exists()


def read_record(folder: UPath, name: str) -> ShardRecord:
    return ShardRecord.model_validate_json(record_path(folder, name).read_text())


def read_records(folder: UPath, names: Iterable[str]) -> list[ShardRecord]:
    """Read records, several at a time."""
    return list(side_by_side(partial(read_record, folder), names))


def samples_by_shard(records: Iterable[ShardRecord]) -> dict[str, int]:
    """Return the number of samples of each shard, by its name, for a manifest."""
    return {record.file.name.removesuffix(".tar"): record.samples for record in records}


def shard_sizes(artifact: Artifact, split: str) -> list[int]:
    """Return the number of samples of each shard of a split, in order.

    The manifest has them: of 19,532 shards, a record each would be as many requests. A manifest
    that was written before it had them is completed by the records.
    """
    names = artifact.shard_names(split)
    stated = artifact.manifest.samples
    missing = [name for name in names if name not in stated]
    records = read_records(artifact.folder, missing)
    known = {**stated, **{name: r.samples for name, r in zip(missing, records, strict=True)}}
    return [known[name] for name in names]


def tasks_of(artifact: Artifact) -> list[ShardTask]:
    """Return one task per shard of an upstream artifact; shards keep their names."""
    return [ShardTask(name) for name in artifact.shard_names()]


def attempt_path(folder: UPath, name: str) -> UPath:
    return folder / f"{name}.attempt"


def record_path(folder: UPath, name: str) -> UPath:
    return folder / record_name(name)


def record_name(name: str) -> str:
    return f"{name}.record.json"

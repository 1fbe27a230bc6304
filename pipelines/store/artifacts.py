"""Artifacts: what every step reads and writes.

An artifact is a folder `<store>/<step>/<fingerprint>/` of data files with `manifest.json`,
which is written last: an artifact is finished if it has a manifest. A folder without one is
unfinished work that the next run completes. A store is a local folder or any fsspec URL
(s3://bucket/prefix).
While an artifact is built piece by piece, a *part* stands for the shards of one piece: it has
the artifact's folder and fingerprint, and a manifest that is never written.

The fingerprint is a digest of *what* was computed: step and version, config, fingerprints
of the inputs. Paths, hosts, worker counts and hardware never enter it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from upath import UPath

from pipelines.store.files import FileEntry, file_entry
from pipelines.store.shards import OpenShard, Sample, read_shard, read_sums
from pipelines.store.text import printable, redacted
from vitlens_core.confinement import plain_name
from vitlens_core.errors import IntegrityError

MANIFEST = "manifest.json"
QUARANTINE = "quarantine.jsonl"
# Folders of a store that hold no artifacts, but what can be made or fetched again.
FEATURES, WEIGHTS = "features", "weights"
M = TypeVar("M", bound=BaseModel)


class Quarantined(BaseModel):
    """One sample left out, and why."""

    model_config = ConfigDict(frozen=True)

    key: str = Field(description="key of the sample, or uid of the object")
    step: str = Field(description="step that left it out")
    reason: str = Field(description="why, in a sentence")

    @field_validator("reason")
    @classmethod
    def _fit_for_show(cls, reason: str) -> str:
        return printable(redacted(reason), lines=True)


class Manifest(BaseModel):
    """Everything known of a finished artifact."""

    model_config = ConfigDict(frozen=True)

    step: str = Field(description="step that made the artifact")
    version: int = Field(description="version of the step")
    fingerprint: str = Field(description="SHA-256 of what was computed, hexadecimal")
    config: dict[str, Any] = Field(description="settings that decide the fingerprint")
    inputs: dict[str, str] = Field(description="fingerprints of the inputs, by step")
    counts: dict[str, int] = Field(description="counts by name, such as samples")
    quarantined: int = Field(0, description="number of samples in `quarantine.jsonl`")
    files: tuple[FileEntry, ...] = Field(description="its files, sorted by name")
    samples: dict[str, int] = Field({}, description="number of samples of each shard, by its name")
    seconds: float = Field(description="time taken by the run that finished it [s]")
    made_with: tuple[str, ...] = Field(
        (), description="renderers that made its samples; several differ in the last bits"
    )

    @field_validator("files")
    @classmethod
    def _lie_inside(cls, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        for entry in files:
            plain_name(entry.name)  # a forged manifest must not name files elsewhere
        return files


@dataclass(frozen=True)
class Artifact:
    """A finished artifact (its folder and its manifest), or a part of one that is being built.

    Attributes:
        verify_reads: whether `read` compares every sample with its checksum.
    """

    folder: UPath
    manifest: Manifest
    reused: bool = False
    is_part: bool = False
    verify_reads: bool = False

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def store(self) -> UPath:
        """The root of the store it lies in."""
        return self.folder.parent.parent

    def path(self, name: str) -> UPath:
        return self.folder / name

    def shards(self, split: str | None = None) -> list[UPath]:
        """Return the paths of the artifact's tars, in order, of one split or of all."""
        names = [f.name for f in self.manifest.files if f.name.endswith(".tar")]
        return [self.path(n) for n in names if split is None or n.startswith(f"{split}-")]

    def shard_names(self, split: str | None = None) -> list[str]:
        """Return the names of the artifact's shards, in order: their tars' without the ending."""
        return [path.name.removesuffix(".tar") for path in self.shards(split)]

    def read(self, shard: UPath | str, only: Collection[str] | None = None) -> Iterator[Sample]:
        """Read the samples of a tar, given by path or stem, undecoded and in stored order.

        Args:
            only: the files to read of each sample, by extension.

        Raises:
            IntegrityError: the tar is damaged, or (with `verify_reads`) a sample differs from
                its checksum.
        """
        path = self.path(f"{shard}.tar") if isinstance(shard, str) else shard
        return read_shard(path, self._sums(path), only)

    def open_shard(self, path: UPath) -> OpenShard:
        """Open a tar to read it sample by sample; errors as `read`."""
        return OpenShard(path, self._sums(path))

    def _sums(self, path: UPath) -> dict[str, int] | None:
        return read_sums(path) if self.verify_reads else None

    def quarantined(self) -> list[Quarantined]:
        """Return the samples that were left out, with reasons (`IntegrityError`, as `read_whole`).

        They lie beside the manifest, which everything reads: 100,000 of them take 15 MB.
        """
        lines = self.read_whole(QUARANTINE).splitlines() if self.manifest.quarantined else []
        return [Quarantined.model_validate_json(line) for line in lines]

    def read_model(self, name: str, model: type[M]) -> M:
        """Read a JSON file of the artifact as `model`.

        Raises:
            IntegrityError: the file does not match `model`.
        """
        path = self.path(name)
        try:
            return model.model_validate_json(self.read_whole(name))
        except ValidationError as error:
            raise IntegrityError(
                f"{path} differs from what this release writes ({error.errors()[0]['msg']} "
                f"at {error.errors()[0]['loc']}); delete {self.folder} and run again"
            ) from error

    def read_whole(self, name: str) -> bytes:
        """Read a small file of the artifact, compared with its manifest.

        Raises:
            IntegrityError: its size or checksum differs, or the manifest has no such file.
        """
        data = self.path(name).read_bytes()
        self._compare(FileEntry.of(name, data))
        return data

    def check(self, name: str) -> None:
        """Compare a file with its manifest; errors as `read_whole`."""
        path = self.path(name)
        self._compare(file_entry(path) if path.exists() else None, name)

    def _compare(self, found: FileEntry | None, name: str = "") -> None:
        name = found.name if found else name
        stated = next((entry for entry in self.manifest.files if entry.name == name), None)
        if stated is None or found != stated:
            raise IntegrityError(
                f"{self.path(name)}: {_describe(found)}, but its manifest states "
                f"{_describe(stated)}; delete {self.folder} and run again"
            )

    def verify(self) -> None:
        """Compare every file with its stated size and checksum (`IntegrityError`)."""
        for entry in self.manifest.files:
            if damage := self.damage(entry):
                raise IntegrityError(f"{damage}; delete {self.folder} and run again")

    def damage(self, entry: FileEntry) -> str:
        """Describe what is wrong with a file, and with which sample; empty if it is whole.

        A tar's checksums lie in a file beside it. If the tar itself matches the manifest, a
        failed checksum means that the file of checksums is damaged.
        """
        path = self.path(entry.name)
        present = file_entry(path) if path.exists() else None
        of_sample = _damaged_sample(path) if present and path.suffix == ".tar" else None
        if present == entry:
            whole = "the tar matches its manifest, so its checksums are damaged"
            return f"{of_sample}; {whole}" if of_sample else ""
        difference = f"{path}: {_describe(present)}, but its manifest states {_describe(entry)}"
        if of_sample is None:
            return difference
        between = "its samples are whole, so the damage lies between them"
        return f"{difference}; {of_sample or between}"


def _damaged_sample(path: UPath) -> str:
    """Describe the first damaged sample of a tar; empty if there is none."""
    try:
        for _ in read_shard(path, read_sums(path)):
            pass
    except IntegrityError as error:
        return str(error)
    return ""


def load(folder: UPath, *, reused: bool = False) -> Artifact:
    """Load the finished artifact of a folder (`IntegrityError`: its manifest is damaged)."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        detail = error.errors()[0]
        raise IntegrityError(
            f"{path} is damaged ({printable(detail['msg'])}); delete {folder} and run again"
        ) from error
    return Artifact(folder, manifest, reused)


def digest(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(_canonical(value)).hexdigest()


def digest_of_list(values: Iterable[object]) -> str:
    """Return `digest(list(values))` with one value in memory at a time."""
    sha = hashlib.sha256(b"[")
    for number, value in enumerate(values):
        sha.update(b"," * (number > 0) + _canonical(value))
    sha.update(b"]")
    return sha.hexdigest()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _describe(entry: FileEntry | None) -> str:
    return f"{entry.size_bytes:,} bytes, {entry.sha256[:12]}…" if entry else "missing"

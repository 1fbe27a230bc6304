"""artifact_store: looks artifacts up by what they are made of, or starts them.

Promises  a manifest is written last: a folder without one is unfinished work that the next run
          completes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from upath import UPath

from pipelines.store.artifacts import (
    FEATURES,
    MANIFEST,
    QUARANTINE,
    WEIGHTS,
    Artifact,
    Manifest,
    Quarantined,
    digest,
    load,
)
from pipelines.store.files import FileEntry, is_abandoned, names_in, write_atomic
from pipelines.store.requests import remove
from pipelines.store.text import redacted_values
from vitlens_core.errors import ConfigError, IntegrityError, VitlensError

logger = logging.getLogger(__name__)
PLAN = ".plan.jsonl"  # ending of the file that lists what a worker puts into a shard


class NotMadeError(VitlensError):
    """`FinishedStore` was asked for an artifact that is not finished.

    Attributes:
        identity: what would have been made: step, version, config, inputs, content.
    """

    def __init__(self, message: str, identity: Mapping[str, object]) -> None:
        super().__init__(message)
        self.identity = identity


@dataclass(frozen=True)
class Store:
    """The root under which artifacts lie."""

    root: UPath

    def begin(
        self,
        step: str,
        version: int,
        config: BaseModel | Mapping[str, object],
        inputs: Mapping[str, Artifact],
        content: str = "",
        *,
        part: bool = False,
    ) -> Build:
        """Look up or start the artifact that `config` and `inputs` determine.

        Args:
            content: digest of what enters from outside the store (a mirror's selection).
            part: whether the artifact is made of parts, and so becomes a part itself.

        Raises:
            ConfigError: an input is a part, and the step needs the whole of it.
        """
        pieces = [name for name, artifact in inputs.items() if artifact.is_part and not part]
        if pieces:
            raise ConfigError(
                f"{step} needs all shards of {', '.join(pieces)}, found those of one piece; "
                "start an ordinary run, which finishes what was built piece by piece"
            )
        settings = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
        identity = {
            "step": step,
            "version": version,
            "config": dict(settings),
            "inputs": {name: artifact.fingerprint for name, artifact in sorted(inputs.items())},
            "content": content,
        }
        fingerprint = digest(identity)
        return self._opened(Build(self.root / step / fingerprint[:16], fingerprint, identity, part))

    def _opened(self, build: Build) -> Build:
        build.folder.mkdir(parents=True, exist_ok=True)
        return build

    def make_again(self, build: Build) -> None:
        """Permit making a finished artifact again; `FinishedStore` raises `NotMadeError`."""

    def folders(self) -> list[UPath]:
        """Return the folders of all artifacts, finished or not, in no particular order."""
        return [
            folder
            for folder in self.root.glob("*/*")
            if folder.parent.name not in (FEATURES, WEIGHTS) and folder.is_dir()
        ]

    def artifacts(self) -> list[Artifact]:
        """Return every finished artifact, in no particular order.

        Those whose manifest cannot be read are left out, and named in a warning.
        """
        found, damaged = self.scan()
        for damage in damaged:
            logger.warning("%s", damage)
        return found

    def scan(self) -> tuple[list[Artifact], list[str]]:
        """Return every finished artifact, and what is wrong with the manifests of others."""
        found: list[Artifact] = []
        damaged: list[str] = []
        if self.root.exists():
            for path in self.root.glob(f"*/*/{MANIFEST}"):
                try:
                    found.append(load(path.parent))
                except IntegrityError as error:
                    damaged.append(str(error))
        return found, damaged


class FinishedStore(Store):
    """A store in which steps only look up finished artifacts and make none.

    `begin` raises `NotMadeError` at the first artifact that is not finished.
    """

    def _opened(self, build: Build) -> Build:
        if build.existing is None:
            message = f"{build.step} {build.fingerprint[:12]} is not finished"
            raise NotMadeError(message, build.identity)
        return build

    def make_again(self, build: Build) -> None:
        message = f"{build.step} {build.fingerprint[:12]} would be made again"
        raise NotMadeError(message, build.identity)


class Build:
    """An artifact that is being made, or that was found finished (`existing`)."""

    def __init__(
        self, folder: UPath, fingerprint: str, identity: dict[str, Any], is_part: bool = False
    ) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self._identity = identity
        self._is_part = is_part
        self._started = time.monotonic()

    @property
    def step(self) -> str:
        return self._identity["step"]

    @property
    def identity(self) -> Mapping[str, object]:
        """Step, version, config, inputs and content: what the fingerprint is a digest of."""
        return self._identity

    @property
    def existing(self) -> Artifact | None:
        """The finished artifact, if there is one; parts are looked up shard by shard instead.

        One whose manifest cannot be read counts as unfinished, with a warning: its finished
        shards are found again by their own records, and its manifest is written anew.
        """
        path = self.folder / MANIFEST
        if self._is_part or not path.exists():
            return None
        try:
            found = load(self.folder, reused=True)
        except IntegrityError as error:
            logger.warning("%s; it is finished again", error)
            return None
        if found.fingerprint != self.fingerprint:
            logger.warning("%s is another artifact's; it is made again", path)
            return None
        return found

    def commit(
        self,
        files: Iterable[FileEntry],
        counts: Mapping[str, int],
        quarantined: Iterable[Quarantined] = (),
        made_with: Iterable[str] = (),
        samples: Mapping[str, int] | None = None,
    ) -> Artifact:
        """Write the manifest, which makes the artifact finished; a part's is not written."""
        files, left_out = list(files), list(quarantined)
        if left_out and not self._is_part:
            files.append(write_atomic(self.folder / QUARANTINE, _lines(left_out)))
        manifest = Manifest(
            step=self._identity["step"],
            version=self._identity["version"],
            fingerprint=self.fingerprint,
            config=redacted_values(self._identity["config"]),
            inputs=self._identity["inputs"],
            counts=dict(counts),
            quarantined=len(left_out),
            files=tuple(sorted(files, key=lambda f: f.name)),
            seconds=round(time.monotonic() - self._started, 2),
            made_with=tuple(made_with),
            samples=dict(samples or {}),
        )
        if self._is_part:
            return Artifact(self.folder, manifest, is_part=True)
        write_atomic(self.folder / MANIFEST, manifest.model_dump_json(indent=1).encode())
        remove(self.folder / name for name in names_in(self.folder) if _is_left_over(name))
        return Artifact(self.folder, manifest)


def _is_left_over(name: str) -> bool:
    """Whether a finished artifact has no use for a file: plans, and what killed writers left."""
    # Another run may be writing its own temporary files.
    return name.endswith((".attempt", PLAN)) or is_abandoned(name)


def _lines(quarantined: Iterable[Quarantined]) -> bytes:
    return b"".join(each.model_dump_json().encode() + b"\n" for each in quarantined)

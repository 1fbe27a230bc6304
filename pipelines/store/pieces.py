"""pieces: divides a data set that is too large for one run into ranges of shards.

Promises  the ranges are disjoint and in order, differ in size by one at most, and cover every
          shard; they depend only on the list of shards, so that machines that share a store need
          not talk to each other.

A piece of the first step (`objects`, `source`) is a *part*; each later step builds the same part
of its own artifact. Parts have no manifest of their own: the ordinary run finds their shards and
commits the artifact.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from pipelines.store.artifacts import Artifact
from vitlens_core.errors import ConfigError

_NAME = re.compile(r"(\d+)-of-(\d+)")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Piece:
    """Range `number` (from 1) of `total` equal ranges of an artifact's shards."""

    number: int
    total: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.total:
            raise ConfigError(f"piece {self}: expected a number from 1 to {self.total}")

    def __str__(self) -> str:
        """Return `03-of-64`: names sort by number, and every division has names of its own."""
        return f"{self.number:0{len(str(self.total))}d}-of-{self.total}"

    @classmethod
    def parse(cls, name: str) -> Piece:
        """Return the piece with this name (`ConfigError` if it is no such name)."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ConfigError(f"piece {name!r}: expected a name such as 03-of-64")
        return cls(int(match[1]), int(match[2]))

    def of(self, shards: Sequence[Item]) -> Sequence[Item]:
        """Return this piece's range of `shards`; it is empty if there are too few shards."""
        first, end = (len(shards) * n // self.total for n in (self.number - 1, self.number))
        return shards[first:end]

    def of_artifact(self, artifact: Artifact) -> Artifact:
        """Return this piece's part of a finished artifact that has one file per shard."""
        files = tuple(self.of(artifact.manifest.files))
        return replace(
            artifact, manifest=artifact.manifest.model_copy(update={"files": files}), is_part=True
        )


def pieces(total: int) -> list[Piece]:
    """Return all pieces of a division into `total`."""
    return [Piece(number, total) for number in range(1, total + 1)]

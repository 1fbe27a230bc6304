"""pieces: a data set too large for one go, divided into ranges of shards.

Promises  the ranges are disjoint, in order, of sizes that differ by one at most, and cover
          every shard; they depend on the list of shards alone, so that machines that share a
          store need not talk to each other.

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
        """`03-of-64`: sorts by number, and a division into more pieces has other names."""
        return f"{self.number:0{len(str(self.total))}d}-of-{self.total}"

    @classmethod
    def parse(cls, name: str) -> Piece:
        """The piece of a name; `ConfigError` if it is none."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ConfigError(f"piece {name!r}: expected a name such as 03-of-64")
        return cls(int(match[1]), int(match[2]))

    def of(self, shards: Sequence[Item]) -> Sequence[Item]:
        """This piece's range of them; empty where there are fewer shards than pieces."""
        first, end = (len(shards) * n // self.total for n in (self.number - 1, self.number))
        return shards[first:end]

    def of_artifact(self, artifact: Artifact) -> Artifact:
        """This piece's part of a finished artifact with one file per shard."""
        files = tuple(self.of(artifact.manifest.files))
        return replace(
            artifact, manifest=artifact.manifest.model_copy(update={"files": files}), is_part=True
        )


def pieces(total: int) -> list[Piece]:
    """All pieces of a division."""
    return [Piece(number, total) for number in range(1, total + 1)]

"""items: the types of an index's description and of its items."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from pipelines.shards.sample import SampleInfo

ITEMS_FILE, INDEX_FILE = "items.jsonl", "index.json"
VectorKind = Literal["signal", "image", "text"]
KINDS: tuple[VectorKind, ...] = get_args(VectorKind)


class IndexItem(SampleInfo):
    """A line of `items.jsonl`: one sample of the corpus, without its captions."""

    key: str
    vectors: tuple[VectorKind, ...] = Field(description="kinds it has")
    thumbnail: tuple[str, int, int] | None = Field(
        description="tar, first byte and size of its picture; null without views"
    )


class IndexInfo(BaseModel):
    """The content of `index.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str = Field(description="of the lens that made the `signal` vectors")
    embed_dim: int = Field(description="width E of a vector")
    vectors: dict[VectorKind, int] = Field(description="how many there are, by kind")
    labels: dict[str, int] = Field(description="items of every class of the corpus, sorted by name")
    items: int
    parts: tuple[int, ...] = Field(description="number of the first item of each part's graphs")


def graph_file(kind: VectorKind, part: int) -> str:
    return f"{kind}-{part:05d}.usearch"

"""step: declares the step `index` and its settings; `job` does the work.

Axes: E embedding.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipelines.execution.step import Step


class IndexConfig(BaseModel):
    """How the corpus is embedded, and the sizes of its graphs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(32, ge=1, description="signals that pass the tower at a time")
    thumbnail_px: int = Field(160, ge=16, description="side of a thumbnail")
    items_per_graph: int = Field(
        131072,
        ge=1,
        description="most items of a graph; parts of a larger corpus are built side by side, and "
        "searched one after the other",
    )
    connectivity: int = Field(16, ge=2, description="neighbours of a vector in the graph")
    expansion_add: int = Field(128, ge=8, description="candidates examined to insert a vector")
    expansion_search: int = Field(96, ge=8, description="candidates examined by a search")


STEP = Step(
    name="index",
    version=3,
    description="Every sample's vectors, to be found by an embedding of any modality.",
    inputs=("shards", "targets", "foundation", "lens"),
    made_by="Ray Data",
    reads="shards, targets, foundation and lens, of all splits",
    writes={
        "<split>-NNNNN.tar": "one per shard; the files of a sample follow",
        "signal.npy, image.npy, text.npy": "fp32 [E], unit norm: of the lens, and the means of the "
        "targets; absent where there are none",
        "thumbnail.webp": "the first view; absent without views",
        "json": "name, label, group, split, licence, creator (`SampleInfo`)",
        "<vectors>-NNNNN.usearch": "one graph per part of the corpus and kind of vectors, keyed by "
        "the number of an item",
        "items.jsonl": "line n is item n: what its json says, its key, the kinds of vectors it "
        "has, and where in the tars its thumbnail lies (`IndexItem`)",
        "index.json": "modality, width, counts by kind and by label (`IndexInfo`)",
    },
    promises="Deterministic. A killed job goes on at the shards that lack a record. One part's "
    "graphs are in memory, which hold its vectors as fp16.",
)

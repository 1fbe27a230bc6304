"""sample: the record of a sample beside its signal and images, its member `json`.

Shards have the whole record. Targets leave out creator and licence, and the index the captions:
each step tells `encode` what to leave out, and a field that was left out has its default.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from pipelines.store.shards import Sample, encode_json
from pipelines.store.splits import Split


class SampleInfo(BaseModel):
    """The record of one sample."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="name for people")
    label: str | None = Field(description="its class; null or empty if it has none")
    group: str = Field(description="what must not be in two splits: an object, a subject")
    split: Split
    licence: str | None = Field(None, description="as its data set states it")
    creator: str | None = Field(None, description="as its data set states it")
    captions: tuple[str, ...] = ()
    mirror: str = Field(
        "", exclude_if=lambda name: not name, description="name of the further mirror it is from"
    )
    weights: dict[str, tuple[float, ...]] = Field(
        {},
        exclude_if=lambda weights: not weights,
        description="by kind of target, how often each is drawn in training, relative to the "
        "others of the sample; absent: evenly",
    )
    embeddings_of: str | None = Field(
        None,
        exclude_if=lambda of: of is None,
        description="the CLIP of embeddings that the data set brought: a foundation's spec or "
        "digest",
    )
    notes: tuple[str, ...] = Field(
        (), exclude_if=lambda notes: not notes, description="what its file lacked and was replaced"
    )

    @classmethod
    def of(cls, sample: Sample) -> Self:
        """Read the record of a stored sample."""
        # `bytes`, since a long record is a view of the tar, which pydantic does not take.
        return cls.model_validate_json(bytes(sample["json"]))

    def encode(self, without: Set[str] = frozenset()) -> bytes:
        """Encode the member `json`.

        Args:
            without: names of fields to leave out.
        """
        return encode_json(self.model_dump(mode="json", exclude=set(without)))

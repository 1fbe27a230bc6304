"""sample: what is known of a sample beside its signal and images: its member `json`.

Shards hold the whole record. Targets leave out who made a thing and under which licence, the index
its captions: `encode` is told what a step leaves out, and what was left out has its default.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from pipelines.store.shards import Sample, encode_json
from pipelines.store.splits import Split


class SampleInfo(BaseModel):
    """One sample in words."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="what people call it")
    label: str | None = Field(description="its class; null or empty where it has none")
    group: str = Field(description="what must not stand on two sides: an object, a subject")
    split: Split
    licence: str | None = Field(None, description="as its data set states it")
    creator: str | None = Field(None, description="as its data set states it")
    captions: tuple[str, ...] = ()

    @classmethod
    def of(cls, sample: Sample) -> Self:
        """That of a stored sample."""
        # A long record is a view of the tar.
        return cls.model_validate_json(bytes(sample["json"]))

    def encode(self, without: Set[str] = frozenset()) -> bytes:
        """The member `json`.

        Args:
            without: names of the fields that are left out.
        """
        return encode_json(self.model_dump(mode="json", exclude=set(without)))

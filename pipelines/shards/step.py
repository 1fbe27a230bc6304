"""step: declares the step `shards` and its settings; `rendered` and `recorded` make the pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipelines.execution.step import Step
from vitlens_core import modalities
from vitlens_core.modalities.base import LensedModality, SignalConfig


@dataclass(frozen=True)
class StoredSignal:
    """The stored form of a modality's recordings; it does not depend on the network."""

    modality: str
    config: SignalConfig

    @property
    def kind(self) -> LensedModality[Any]:
        return modalities.load_lensed(self.modality)

    @property
    def file(self) -> str:
        """Extension of the signal in a sample."""
        return self.kind.signal_file

    def identity(self) -> dict[str, object]:
        return {"modality": self.modality, "signal": self.config.model_dump()}


class ShardsConfig(BaseModel):
    """What a paired sample has beside its signal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    views: int | None = Field(
        None,
        ge=1,
        description="views per object, if each view is a sample; unset: all",
    )
    image_px: int = Field(224, ge=16, description="side of the images of a source")
    label_captions: bool = Field(
        True, description="whether captions of *training* samples name their class"
    )


STEP = Step(
    name="shards",
    version=5,
    description="Paired samples in WebDataset tars: signal, images, captions.",
    inputs=("renders", "source"),
    takes_one_input=True,
    in_pieces=True,
    made_by="Ray Data",
    reads="renders of objects, or the pairs of a source",
    writes={
        "<split>-NNNNN.tar": "one per shard of what was read; the files of a sample follow",
        "<signal>.npy": "the signal of the modality, under the name its file states; floats as "
        "fp16",
        "view00.png …": "the images it is paired with",
        "teacher_<name>.npy": "the signals for each lens that teaches",
        "image_ready.npy, text_ready.npy": "fp16 [V, E] and [C, E]: embeddings that the data set "
        "brought",
        "json": "name, label, group, split, captions, licence, creator (`SampleInfo`); captions of "
        "held-out samples never name the class",
    },
    promises="Names and bytes are deterministic, a shard has a bounded size, and plain webdataset "
    "reads it. A sample of a rendered object is the whole object or one of its views, which the "
    "modality decides. No setting of the network changes a byte.",
)

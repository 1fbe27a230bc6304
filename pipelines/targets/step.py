"""targets: what the step is; `job` does it.

Axes: V views, C captions, K signals of the teacher, E embedding.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from pipelines.execution.step import Step

TargetKind = Literal["image", "text", "teacher"]
# In this order of preference where one kind stands for all: validation is against the first.
TARGET_KINDS: tuple[TargetKind, ...] = get_args(TargetKind)

StoredAs = Literal["fp16", "fp32"]


class TargetsConfig(BaseModel):
    """How targets are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stored_as: StoredAs = Field(
        "fp16", description="float type of targets; `fp32` takes twice the room"
    )


STEP = Step(
    name="targets",
    version=4,
    description="The foundation's embeddings of every view and caption, computed once.",
    inputs=("shards", "foundation"),
    made_by="Ray Data",
    reads="shards and foundation, with the lens that teaches if there is one",
    writes={
        "<split>-NNNNN.tar": "one per shard; the files of a sample follow",
        "<signal>.npy": "as in the shards",
        "image_targets.npy": "[V, E], unit norm; V = 0 without images",
        "text_targets.npy": "[C, E], unit norm; C = 0 without captions",
        "teacher_targets.npy": "[K, E], unit norm, of the teacher's signals; only if a lens "
        "teaches",
        "json": "name, label, group, split, captions (`SampleInfo`)",
    },
    promises="Targets are fp16 unless the settings say otherwise. Training reads these tars alone: "
    "the towers of the foundation never run there.",
)

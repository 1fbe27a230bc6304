"""step: declares the step `targets`; `job` does the work.

Axes: V views, C captions, K signals of the teacher, E embedding.
"""

from __future__ import annotations

from typing import Literal, get_args

from pipelines.execution.step import Step

TargetKind = Literal["image", "text", "teacher"]
# In order of preference: validation uses the first kind that is trained against.
TARGET_KINDS: tuple[TargetKind, ...] = get_args(TargetKind)

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
        "image_targets.npy": "fp16 [V, E], unit norm; V = 0 without images",
        "text_targets.npy": "fp16 [C, E], unit norm; C = 0 without captions",
        "teacher_targets.npy": "fp16 [K, E], unit norm, of the teacher's signals; only if a lens "
        "teaches",
        "json": "name, label, group, split, captions (`SampleInfo`)",
    },
    promises="Training reads only these tars, so the towers of the foundation never run there.",
)

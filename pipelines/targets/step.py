"""step: declares the step `targets`; `job` does the work.

Axes: V views, C captions, K signals for a teacher, E embedding.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.execution.step import Step

OF_FOUNDATION = ("image", "text")  # kinds of target
TOKENS = "tokens"  # those of an image at the readout, which no embedding is compared with

StoredAs = Literal["fp16", "fp32"]


def kind_of_teacher(name: str) -> str:
    """Return the kind of a teacher's targets."""
    return f"teacher_{name}"


def weight_of(kind: str) -> str:
    """Return the setting in `lens.train` with the weight of a kind of target."""
    is_own = kind in OF_FOUNDATION
    if kind == TOKENS:
        return "token_weight"
    return f"{kind}_weight" if is_own else f"teacher_weights.{kind.removeprefix('teacher_')}"


def in_order(kinds: Collection[str]) -> tuple[str, ...]:
    """Return kinds of target in order of preference: image, text, teachers by name, tokens.

    Validation uses the first that is trained against.
    """
    own = tuple(kind for kind in OF_FOUNDATION if kind in kinds)
    last = tuple(kind for kind in (TOKENS,) if kind in kinds)
    return own + tuple(sorted(set(kinds) - {*own, *last})) + last


class TargetsConfig(BaseModel):
    """How targets are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stored_as: StoredAs = Field(
        "fp16", description="float type of targets; `fp32` takes twice the space"
    )
    token_views: int = Field(
        0,
        ge=0,
        exclude_if=lambda views: not views,
        description="views of a sample whose tokens are stored, evenly chosen among its views, for "
        "`lens.train.token_weight`; a view of 256 patches of width 1024 takes 0.5 MB in fp16",
    )


STEP = Step(
    name="targets",
    version=5,
    description="The foundation's embeddings of every view and caption, computed once.",
    inputs=("shards", "foundation"),
    made_by="Ray Data",
    reads="shards and foundation, with the lenses that teach if there are any",
    writes={
        "<split>-NNNNN.tar": "one per shard; the files of a sample follow",
        "<signal>.npy": "as in the shards",
        "image_targets.npy": "[V, E], unit norm; V = 0 without images",
        "tokens_targets.npy": "[K, P+T, W], the tokens of K views after the trunk's last block and "
        "its norm, CLS first; with `token_views` only",
        "text_targets.npy": "[C, E], unit norm; C = 0 without captions",
        "teacher_<name>_targets.npy": "[K, E], unit norm, of the signals for a teacher; for each "
        "lens that teaches",
        "json": "name, label, group, split, captions (`SampleInfo`)",
    },
    promises="Embeddings that a data set brought are taken over if they are the foundation's. "
    "Targets are fp16 unless the settings say otherwise. Training reads only these tars, so the "
    "towers of the foundation never run there.",
)

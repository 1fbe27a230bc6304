"""step: declares the step `benchmarks` and its settings; `job` does the work."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipelines.execution.step import Step

TABLE, PAGE = "benchmarks.json", "benchmarks.md"


class BenchmarksConfig(BaseModel):
    """Which public data sets are mounted, and what is computed on them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    roots: dict[str, str] = Field(
        default_factory=dict, description="benchmark → its folder; never part of the fingerprint"
    )
    batch_size: int = Field(32, ge=1, description="signals that pass the tower at a time")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of an interval")
    seed: int = Field(0, description="seed of the intervals and of all draws")
    few_shot: bool = Field(True, description="classify by prototypes of a few recordings a class")
    shots: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2, 4, 8, 16), min_length=1, description="labelled recordings of a class, few-shot"
    )
    draws: int = Field(5, ge=1, description="draws of these recordings, whose results are averaged")
    linear_probe: bool = Field(True, description="classify by a logistic regression")
    probe_strength: float = Field(
        1.0, gt=0, description="inverse of its L2 penalty, on standardised embeddings"
    )
    training_recordings: int = Field(
        5000, ge=2, description="most training recordings, for few-shot and linear probe"
    )


STEP = Step(
    name="benchmarks",
    version=3,
    description="The lens on public data sets, by the protocols of published figures, where "
    "mounted.",
    inputs=("targets", "foundation", "lens", "evaluation"),
    made_by="torch",
    reads="targets, foundation, lens and its evaluation; the data sets that `benchmarks.roots` "
    "mounts, each in its published layout (`datasets`, one module each)",
    writes={
        TABLE: "rows of figures with intervals, chance, what others reached, and how many of the "
        "recordings were seen in training; data sets that "
        "failed, with the reader's message; those that are not mounted",
        PAGE: "the same as a table",
    },
    promises="Deterministic. Costs nothing if no data set is mounted. Nothing is trained or chosen "
    "on test recordings. The place of a data set does not change the artifact. A data set that "
    "failed is tried again by the next run.",
)

"""step: declares the step `source`; `base` has its settings, `job` does the work."""

from __future__ import annotations

from pipelines.execution.step import Step

STEP = Step(
    name="source",
    version=3,
    description="The pairs that a data set offers, listed, checked and divided.",
    made_by="driver",
    reads="a data set in its own layout (`datasets`, one module each)",
    writes={"<split>-NNNNN.jsonl": "one per later shard; a line is a `Pair` with its split"},
    promises="Every named file exists and keys are unique. No group and no recording is in two "
    "splits. The same data set and settings give the same division, wherever the data set lies. "
    "No recording is opened.",
)

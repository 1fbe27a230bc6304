"""flow: the steps of every modality in order, and how each one is called.

    objects ─▶ renders ─▶ shards ─▶ foundation ─▶ targets ─▶ lens ─▶ evaluation
            ─▶ challenger ─(gates)─▶ champion

A step's job is `pipelines.<name>.run(runtime, [its config section], **inputs)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.artifacts import Artifact
from pipelines.runtime import Runtime

if TYPE_CHECKING:
    from pipelines.config import RunConfig


@dataclass(frozen=True)
class Step:
    """One artifact of the flow."""

    name: str
    description: str
    inputs: tuple[str, ...] = ()
    has_config: bool = True

    def run(self, runtime: Runtime, config: RunConfig, inputs: Mapping[str, Artifact]) -> Artifact:
        """Make the artifact, or find it made."""
        job = importlib.import_module(f"pipelines.{self.name}")
        section = (getattr(config, self.name),) if self.has_config else ()
        return job.run(runtime, *section, **inputs)


STEPS = (
    Step("objects", "The selected GLBs of a mirror, whole and checked, split by object."),
    Step(
        "renders", "Views, metric depth and coloured surface points of every object.", ("objects",)
    ),
    Step("shards", "Paired samples in WebDataset tars: signal, views, captions.", ("renders",)),
    Step("foundation", "The frozen dual encoder that defines the embedding space.", ("shards",)),
    Step(
        "targets",
        "The foundation's embeddings of every view and caption, computed once.",
        ("shards", "foundation"),
        has_config=False,
    ),
    Step("lens", "The trained tokenizer and lens.", ("targets", "foundation")),
    Step(
        "evaluation",
        "Zero-shot classification and retrieval on held-out objects, with intervals.",
        ("targets", "foundation", "lens"),
    ),
)
STEP_NAMES = tuple(step.name for step in STEPS)

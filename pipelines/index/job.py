"""job: embeds every sample, and builds the graphs of all kinds of vectors; `step` declares it."""

from __future__ import annotations

from pipelines.execution.runtime import Runtime
from pipelines.index.step import STEP, IndexConfig
from pipelines.store.artifacts import Artifact


def run(
    runtime: Runtime,
    config: IndexConfig,
    shards: Artifact,
    targets: Artifact,
    foundation: Artifact,
    lens: Artifact,
) -> Artifact:
    """Embed every sample and build the graphs."""
    inputs = {"shards": shards, "targets": targets, "foundation": foundation, "lens": lens}
    build = STEP.begin(runtime, config, inputs)
    if build.existing:
        return build.existing
    return STEP.make(runtime, build, config, **inputs)

"""job: embeds the held-out split and scores it; `step` declares it."""

from __future__ import annotations

from pipelines.evaluation.step import STEP, EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.store.artifacts import Artifact


def run(
    runtime: Runtime,
    config: EvaluationConfig,
    targets: Artifact,
    foundation: Artifact,
    lens: Artifact,
) -> Artifact:
    """Embed the split with the lens and score it.

    Raises:
        ConfigError: the split is empty, or neither words nor training pictures stand for a class.
    """
    inputs = {"targets": targets, "foundation": foundation, "lens": lens}
    build = STEP.begin(runtime, config, inputs)
    if build.existing:
        return build.existing
    return STEP.make(runtime, build, config, **inputs)

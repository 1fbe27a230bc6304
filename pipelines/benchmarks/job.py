"""job: measures the lens on the mounted data sets; `step` declares it."""

from __future__ import annotations

from pipelines.benchmarks.mounting import mount
from pipelines.benchmarks.step import STEP, BenchmarksConfig
from pipelines.evaluation.result import read_result
from pipelines.execution.runtime import Runtime
from pipelines.store.artifacts import Artifact


def run(
    runtime: Runtime,
    config: BenchmarksConfig,
    targets: Artifact,
    foundation: Artifact,
    lens: Artifact,
    evaluation: Artifact,
) -> Artifact:
    """Measure the lens on the mounted data sets.

    Args:
        targets: what the lens was trained on; the lens states it, so that it does not enter the
            fingerprint again.
        evaluation: evaluation of the lens; only whether its figures are emergent is used, so its
            settings do not enter the fingerprint.

    Raises:
        ConfigError: a root names no benchmark, or one of another modality.
    """
    suite = mount(config.roots, [lens.manifest.config["modality"]])
    identity = {
        **config.model_dump(mode="json", exclude={"roots"}),
        "mounted": sorted(config.roots),
        "emergent": read_result(evaluation).emergent,
    }
    inputs = {"foundation": foundation, "lens": lens}
    build = STEP.begin(runtime, identity, inputs, suite.content)
    if build.existing and not build.existing.manifest.counts["failed"]:
        return build.existing
    if build.existing:
        # A data set that failed is tried again: repaired files may have the size they had, so
        # the fingerprint does not show the repair.
        runtime.store.make_again(build)
    return STEP.make(
        runtime, build, config, suite, targets, foundation, lens, emergent=identity["emergent"]
    )

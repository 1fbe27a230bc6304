"""job: encodes shards in workers that hold the frozen towers; `step` declares it."""

from __future__ import annotations

from functools import partial

from pipelines.execution.bulk import build_shards
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import tasks_of
from pipelines.store.artifacts import Artifact
from pipelines.targets.step import STEP, TargetsConfig


def run(
    runtime: Runtime, config: TargetsConfig, shards: Artifact, foundation: Artifact
) -> Artifact:
    """Encode every view and caption; Ray Data actors hold the frozen towers."""
    inputs = {"shards": shards, "foundation": foundation}
    build = STEP.begin(runtime, config, inputs)
    if build.existing:
        return build.existing
    # Late: torch takes seconds to import, and a finished artifact needs none of it.
    from pipelines.targets.encoder import TargetEncoder

    resources = runtime.resources
    threads = resources.readers(on_gpu=resources.encode_gpus > 0)
    processor = partial(TargetEncoder, config, shards, foundation, resources.device, threads)
    return build_shards(runtime, build, tasks_of(shards), processor, encodes=True)

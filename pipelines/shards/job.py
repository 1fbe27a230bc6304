"""job: pairs signals with images and captions, shard by shard; `step` declares it."""

from __future__ import annotations

from functools import partial

from pipelines.execution.bulk import build_shards, tasks_of
from pipelines.execution.runtime import Runtime
from pipelines.shards.recorded import RecordedPairs
from pipelines.shards.rendered import RenderedPairs
from pipelines.shards.step import STEP, ShardsConfig, StoredSignal
from pipelines.source.base import SourceSettings
from pipelines.source.job import tasks_of_source
from pipelines.store.artifacts import Artifact
from vitlens_core import modalities
from vitlens_core.errors import ConfigError


def run(
    runtime: Runtime,
    config: ShardsConfig,
    signal: StoredSignal,
    source_settings: SourceSettings | None = None,
    teacher: StoredSignal | None = None,
    *,
    renders: Artifact | None = None,
    source: Artifact | None = None,
) -> Artifact:
    """Pair every signal with its images and captions.

    Args:
        signal: the signal to store.
        source_settings: settings of the data set whose pairs `source` lists.
        teacher: the signal to store for the lens that teaches, if there is one.

    Raises:
        ConfigError: rendered objects have no signal of the teacher's modality.
    """
    name, upstream = ("renders", renders) if renders else ("source", source)
    assert upstream is not None
    identity = {**signal.identity(), **config.model_dump()}
    if teacher:
        identity["teacher"] = teacher.identity()
    inputs = {name: upstream}
    build = STEP.begin(runtime, identity, inputs)
    if build.existing:
        return build.existing
    if renders:
        if teacher and teacher.kind.renders_as is None:
            raise ConfigError(
                f"foundation: a lens for {teacher.modality} cannot teach with rendered objects, "
                f"which are seen as {' and '.join(modalities.rendered())}"
            )
        rendered = partial(RenderedPairs, config, signal, renders, teacher)
        return build_shards(runtime, build, tasks_of(renders), rendered)
    assert source_settings is not None
    recorded = partial(RecordedPairs, config, signal, source_settings, upstream, teacher)
    return build_shards(runtime, build, tasks_of_source(upstream), recorded)

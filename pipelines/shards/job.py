"""shards: pairs of renders or of recordings, shard by shard; see `step`."""

from __future__ import annotations

from functools import partial
from typing import Any

from pipelines.execution.bulk import build_shards, tasks_of
from pipelines.execution.runtime import Runtime
from pipelines.shards.recorded import RecordedPairs
from pipelines.shards.rendered import RenderedPairs
from pipelines.shards.step import OF_OBJECTS, STEP, ShardsConfig
from pipelines.source.base import SourceSettings
from pipelines.source.job import tasks_of_source
from pipelines.store.artifacts import Artifact
from vitlens_core.errors import ConfigError
from vitlens_core.models.tower import TowerSettings


def run(
    runtime: Runtime,
    config: ShardsConfig,
    tower: TowerSettings,
    source_settings: SourceSettings | None = None,
    teacher: TowerSettings | None = None,
    *,
    renders: Artifact | None = None,
    source: Artifact | None = None,
) -> Artifact:
    """Pair every signal with its images and captions.

    Args:
        tower: names the modality and says how its raw recordings become signals.
        source_settings: where the files of `source` lie.
        teacher: the lens that teaches, whose signals are stored as well.

    Raises:
        ConfigError: rendered objects have no signal of the teacher's modality.
    """
    name, upstream = ("renders", renders) if renders else ("source", source)
    assert upstream is not None
    identity = {"modality": tower.modality, **config.model_dump()}
    if tower.modality != "point_cloud" or source:
        identity["tokenizer"] = tower.tokenizer
    if teacher:
        identity["teacher"] = {"modality": teacher.modality, "tokenizer": teacher.tokenizer}
    inputs = {name: upstream}
    build = STEP.begin(runtime, identity, inputs)
    if build.existing:
        return build.existing
    if renders:
        if teacher and teacher.modality not in OF_OBJECTS:
            raise ConfigError(
                f"foundation: a lens for {teacher.modality} cannot teach with rendered objects, "
                f"which are seen as {' and '.join(OF_OBJECTS)}"
            )
        processor: Any = partial(RenderedPairs, config, tower, renders, teacher)
        return build_shards(runtime, build, tasks_of(renders), processor)
    processor = partial(RecordedPairs, config, tower, source_settings, source, teacher)
    return build_shards(runtime, build, tasks_of_source(upstream), processor)

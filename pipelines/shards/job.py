"""job: pairs signals with images and captions, shard by shard; `step` declares it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from pipelines.execution.bulk import build_shards
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import read_records, shard_sizes, tasks_of
from pipelines.shards.recorded import RecordedPairs
from pipelines.shards.rendered import RenderedPairs
from pipelines.shards.step import STEP, ShardsConfig, StoredSignal
from pipelines.source.base import Pair, SourceSettings
from pipelines.source.job import read_pairs, tasks_of_source
from pipelines.store.artifacts import Artifact
from vitlens_core import modalities
from vitlens_core.errors import ConfigError


def run(
    runtime: Runtime,
    config: ShardsConfig,
    signal: StoredSignal,
    source_settings: SourceSettings | None = None,
    teachers: Mapping[str, StoredSignal] | None = None,
    *,
    renders: Artifact | None = None,
    source: Artifact | None = None,
) -> Artifact:
    """Pair every signal with its images and captions.

    Args:
        signal: the signal to store.
        source_settings: settings of the data set whose pairs `source` lists.
        teachers: the signal to store for each lens that teaches, by the teacher's name.

    Raises:
        ConfigError: rendered objects have no signal of a teacher's modality, or no sample of a
            split could be used; the message has a reason.
    """
    name, upstream = ("renders", renders) if renders else ("source", source)
    assert upstream is not None
    identity = {**signal.identity(), **config.model_dump()}
    teachers = teachers or {}
    if teachers:
        identity["teachers"] = {name: shown.identity() for name, shown in teachers.items()}
    inputs = {name: upstream}
    build = STEP.begin(runtime, identity, inputs)
    if build.existing:
        return _with_samples(build.existing)
    if renders:
        for teacher, shown in teachers.items():
            if shown.kind.renders_as is None:
                raise ConfigError(
                    f"teachers.{teacher}: a lens for {shown.modality} cannot teach with rendered "
                    f"objects, which are seen as {' and '.join(modalities.rendered())}"
                )
        rendered = partial(RenderedPairs, config, signal, renders, teachers)
        return _with_samples(build_shards(runtime, build, tasks_of(renders), rendered))
    assert source_settings is not None
    for teacher in teachers:
        if not any(teacher in pair.teachers for pair in _all_pairs(upstream)):
            raise ConfigError(
                f"teachers.{teacher}: no pair of the source has a file for it; name its files in a "
                f"manifest's column teacher.{teacher}"
            )
    recorded = partial(RecordedPairs, config, signal, source_settings, upstream, teachers)
    return _with_samples(build_shards(runtime, build, tasks_of_source(upstream), recorded))


def _with_samples(shards: Artifact) -> Artifact:
    """Return the shards, unless every sample to train on, or to evaluate on, was left out."""
    if shards.is_part:
        return shards
    for split in ("train", "test"):
        if any(shard_sizes(shards, split)):
            continue
        names = shards.shard_names(split)
        records = read_records(shards.folder, names)
        if left_out := [q for record in records for q in record.quarantined]:
            raise ConfigError(
                f"all {len(left_out)} samples of the split {split} were left out, such as "
                f"{left_out[0].key}: {left_out[0].reason}"
            )
    return shards


def _all_pairs(source: Artifact) -> Iterator[Pair]:
    return (pair for task in tasks_of_source(source) for pair in read_pairs(source, task.name))

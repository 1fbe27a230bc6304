"""job: resolves the foundation, and fits it first if it is `lit`; `step` declares it."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.execution.runtime import Runtime
from pipelines.foundation.step import STEP, FoundationConfig
from pipelines.foundation.teachers import Teacher, find_teachers, lens_file
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import encode_model
from vitlens_core.model_files import FOUNDATION_FILE, PROJECTIONS_FILE


def run(
    runtime: Runtime,
    config: FoundationConfig,
    teachers: Mapping[str, str],
    shards: Artifact,
    shared: Artifact | None = None,
) -> Artifact:
    """Resolve the foundation; fit it first if it is `lit`.

    Args:
        teachers: registered lenses that teach, by name; their foundation is used then.
        shared: another workflow's foundation, which is used unless there are teachers.

    Raises:
        ConfigError: the spec is unknown, or its weights are neither found nor downloadable, or
            the teachers do not share a foundation.
    """
    if teachers:
        return _of_teachers(runtime, find_teachers(teachers, config))
    if shared:
        return shared
    fitted = config.spec.startswith("lit:")
    inputs = {"shards": shards} if fitted else {}
    build = STEP.begin(runtime, config, inputs)
    if build.existing:
        return build.existing
    return STEP.make(runtime, build, config, shards)


def _of_teachers(runtime: Runtime, teachers: Mapping[str, Teacher]) -> Artifact:
    """Store the foundation that the teachers share, with their lenses beside it."""
    # Identified by digests, not specs: an alias and a version may name the same lens.
    digests = {name: teacher.digest for name, teacher in teachers.items()}
    build = STEP.begin(runtime, {"teachers": digests}, {})
    if build.existing:
        return build.existing
    first = next(iter(teachers.values()))
    modalities = {name: teacher.settings.modality for name, teacher in teachers.items()}
    info = first.foundation.model_copy(update={"teachers": modalities})
    contents = {FOUNDATION_FILE: encode_model(info)}
    contents |= {lens_file(name): teacher.lens.read_bytes() for name, teacher in teachers.items()}
    projections = first.folder / PROJECTIONS_FILE
    if projections.exists():
        contents[projections.name] = projections.read_bytes()
    files = [write_atomic(build.folder / name, data) for name, data in contents.items()]
    return build.commit(files, counts={"teachers": len(teachers)})

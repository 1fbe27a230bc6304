"""job: resolves the foundation, and fits it first if it is `lit`; `step` declares it."""

from __future__ import annotations

from pipelines.execution.runtime import Runtime
from pipelines.foundation.features import _fit
from pipelines.foundation.step import STEP, FoundationConfig
from pipelines.foundation.teacher import LENS, Teacher, find_teacher
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import encode_model
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.model_files import FOUNDATION_FILE, PROJECTIONS_FILE


def run(
    runtime: Runtime, config: FoundationConfig, shards: Artifact, shared: Artifact | None = None
) -> Artifact:
    """Resolve the foundation; fit it first if it is `lit`.

    Args:
        shared: another workflow's foundation, which is used unless a teacher is named.

    Raises:
        ConfigError: the spec is unknown, or its weights are neither found nor downloadable.
    """
    teacher = find_teacher(config.spec)
    if teacher:
        return _of_teacher(runtime, config, teacher)
    if shared:
        return shared
    fitted = config.spec.startswith("lit:")
    inputs = {"shards": shards} if fitted else {}
    build = STEP.begin(runtime, config, inputs)
    if build.existing:
        return build.existing
    foundation = load_foundation(config.spec, config.embed_dim, config.image_size_px)
    files = []
    if isinstance(foundation, LitFoundation):
        files += _fit(runtime, build, config, foundation, shards)
    info = FoundationInfo(
        spec=config.spec,
        embed_dim=foundation.embed_dim,
        image_size_px=foundation.image_size_px,
        digest=foundation.digest(),
        background=config.background,
        logit_scale=foundation.logit_scale,
    )
    files.append(write_atomic(build.folder / FOUNDATION_FILE, encode_model(info)))
    return build.commit(
        files, counts={"parameters": sum(p.numel() for p in foundation.parameters())}
    )


def _of_teacher(runtime: Runtime, config: FoundationConfig, teacher: Teacher) -> Artifact:
    """Store the teacher's foundation, with the teacher beside it."""
    # Identified by its digest, not its spec: an alias and a version may name the same lens.
    identity = {**config.model_dump(exclude={"spec"}), "teacher": teacher.digest}
    build = STEP.begin(runtime, identity, {})
    if build.existing:
        return build.existing
    without_teacher = FoundationInfo.model_validate_json(
        (teacher.folder / FOUNDATION_FILE).read_bytes()
    )
    info = without_teacher.model_copy(update={"teacher": teacher.settings.modality})
    contents = {FOUNDATION_FILE: encode_model(info), LENS: teacher.lens.read_bytes()}
    projections = teacher.folder / PROJECTIONS_FILE
    if projections.exists():
        contents[projections.name] = projections.read_bytes()
    files = [write_atomic(build.folder / name, data) for name, data in contents.items()]
    return build.commit(files, counts={"teachers": 1})

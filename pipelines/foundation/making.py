"""making: opens the foundation that a spec names, and fits it first if it is `lit`."""

from __future__ import annotations

from pipelines.execution.cluster import is_local
from pipelines.execution.runtime import Runtime
from pipelines.foundation import stored_weights
from pipelines.foundation.features import fit
from pipelines.foundation.step import FoundationConfig
from pipelines.store.artifact_store import Build
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import encode_model
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.model_files import FOUNDATION_FILE


def make(runtime: Runtime, build: Build, config: FoundationConfig, shards: Artifact) -> Artifact:
    """Make the artifact of a foundation without teachers; errors as `job.run`."""
    foundation = load_foundation(config.spec, config.embed_dim, config.image_size_px)
    files = []
    if isinstance(foundation, LitFoundation):
        files += fit(runtime, build, config, foundation, shards)
    digest = foundation.digest()
    if config.spec.startswith("open_clip:") and not is_local():
        # Else every worker of a cluster fetches them from a hub.
        stored_weights.put(runtime.store.root, foundation, digest)
    info = FoundationInfo(
        spec=config.spec,
        embed_dim=foundation.embed_dim,
        image_size_px=foundation.image_size_px,
        digest=digest,
        background=config.background,
        logit_scale=foundation.logit_scale,
        has_text=foundation.has_text,
    )
    files.append(write_atomic(build.folder / FOUNDATION_FILE, encode_model(info)))
    return build.commit(
        files, counts={"parameters": sum(p.numel() for p in foundation.parameters())}
    )

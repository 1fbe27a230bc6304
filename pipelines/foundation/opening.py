"""opening: opens the foundation and the lenses of artifacts as torch modules."""

from __future__ import annotations

from pathlib import Path

from pipelines.foundation import stored_weights
from pipelines.foundation.info import read_info
from pipelines.store.artifacts import Artifact
from vitlens_core.api.lenses import open_foundation as open_folder
from vitlens_core.checkpoint import load_lens
from vitlens_core.errors import CheckpointError
from vitlens_core.foundation.base import Foundation
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.model_files import FOUNDATION_FILE, PROJECTIONS_FILE
from vitlens_core.models.tower import Tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.scratch import Scratch


def open_foundation(artifact: Artifact) -> Foundation:
    """Open the foundation of an artifact, and check it against its stored digest.

    Raises:
        CheckpointError: its weights are not those with which the targets were made.
        IntegrityError: a file differs from the artifact's manifest.
    """
    info = read_info(artifact)
    stated = info.digest
    foundation = _from_store(artifact, info) or _from_spec(artifact)
    if foundation.digest() != stated:
        raise CheckpointError(
            f"{foundation.spec}: the weights found now are not those of this artifact "
            f"(digest {foundation.digest()[:12]}, stated {stated[:12]}); "
            f"delete {artifact.folder} to start from the present ones"
        )
    return foundation


def _from_store(artifact: Artifact, info: FoundationInfo) -> Foundation | None:
    found = stored_weights.load(artifact, info.spec, info.digest)
    return found.freeze() if found else None


def _from_spec(artifact: Artifact) -> Foundation:
    with Scratch("foundation") as folder:
        for name in (FOUNDATION_FILE, PROJECTIONS_FILE):
            if artifact.path(name).exists():
                Path(folder, name).write_bytes(artifact.read_whole(name))
        return open_folder(folder)


def open_lens(artifact: Artifact, name: str, foundation: Foundation) -> tuple[Tower, TowerSettings]:
    """Open the tower of a checkpoint in an artifact; see `vitlens_core.checkpoint.load_lens`."""
    with Scratch("lens") as folder:
        local = Path(folder, name)
        local.write_bytes(artifact.read_whole(name))
        return load_lens(local, foundation)

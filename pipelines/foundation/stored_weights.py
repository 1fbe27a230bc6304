"""stored_weights: the weights of an `open_clip` foundation in the store, once, for all workers.

Writes    `<store>/weights/<digest>.safetensors`, by the foundation's digest.
Promises  a worker that finds them asks neither a hub nor the path that the spec names; the digest
          of what it opened is compared with that of the artifact, as of any foundation.

They are written where a cluster does the work: on one machine the hub's cache serves all.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from upath import UPath

from pipelines.store.artifacts import WEIGHTS, Artifact
from pipelines.store.files import local_file, store_file
from vitlens_core.foundation.base import Foundation
from vitlens_core.scratch import Scratch

_CLIP = "clip."  # what open_clip's own names begin with in a foundation's


def put(store: UPath, foundation: Foundation, digest: str) -> None:
    """Write the weights of an `open_clip` foundation with this digest, if the store has none."""
    path = _path(store, digest)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with Scratch("weights") as folder:
        local = Path(folder, path.name)
        of_clip = {
            name.removeprefix(_CLIP): tensor
            for name, tensor in foundation.state_dict().items()
            if name.startswith(_CLIP)
        }
        save_file(of_clip, local)
        store_file(local, path)


def load(artifact: Artifact, spec: str, digest: str) -> Foundation | None:
    """Open a foundation from the weights in its artifact's store; None if there are none.

    Raises:
        CheckpointError: the file does not hold the weights of the spec's model.
    """
    path = _path(artifact.store, digest)
    if not spec.startswith("open_clip:") or not path.exists():
        return None
    # Late: it imports open_clip, which takes seconds and the other kinds do without.
    from vitlens_core.foundation import clip

    with Scratch("weights") as folder:
        return clip.load_weights(spec, local_file(path, Path(folder)))


def _path(store: UPath, digest: str) -> UPath:
    return store / WEIGHTS / f"{digest}.safetensors"

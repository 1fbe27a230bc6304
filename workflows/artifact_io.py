"""artifact_io: how artifacts travel between Dagster assets.

Writes    nothing but metadata: an asset's materialisation names its artifact's folder.
Reads     the folder that the same run named; else the one named last, so that a single
          asset can be materialised from the UI, in whatever process.
Promises  only finished artifacts are handed on.
"""

from __future__ import annotations

import dagster as dg
from upath import UPath

from pipelines.store.artifacts import MANIFEST, Artifact, load
from vitlens_core.errors import ConfigError

FOLDER = "folder"
# Runs of one modality that can overlap, and more.
_RECENT = 50


class ArtifactIOManager(dg.ConfigurableIOManager):
    """Hands on where an artifact lies; the bytes stay in the store."""

    def handle_output(self, context: dg.OutputContext, obj: Artifact) -> None:
        """The asset itself has reported the folder (`workflows.metadata`)."""

    def load_input(self, context: dg.InputContext) -> Artifact:
        step = context.step_context
        key = context.asset_key
        events = step.instance.fetch_materializations(key, limit=_RECENT).records
        if not events:
            raise ConfigError(f"{key.to_user_string()} was never made: materialise it first")
        mine = [event for event in events if event.run_id == step.run_id]
        made = (mine or events)[0].asset_materialization
        assert made is not None
        return artifact_of(made, is_old=not mine)


def artifact_of(made: dg.AssetMaterialization, *, is_old: bool = False) -> Artifact:
    """The artifact that a materialisation names; `ConfigError` if it is gone.

    Args:
        is_old: whether another run made it, so that this one reuses it.
    """
    folder = UPath(str(made.metadata[FOLDER].value))
    if not (folder / MANIFEST).exists():
        found = "unfinished" if folder.exists() else "gone"
        name = made.asset_key.to_user_string()
        raise ConfigError(f"{folder} is {found}: materialise {name} again")
    reused = bool(made.metadata["reused"].value) or is_old
    return load(folder, reused=reused)

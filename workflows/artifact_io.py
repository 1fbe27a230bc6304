"""artifact_io: how artifacts travel between Dagster assets.

Writes    nothing but metadata: an asset's materialisation names its artifact's folder.
Reads     the folder that the same run named, or else the most recent one, so that a single
          asset can be materialised from the UI, in any process.
Promises  only finished artifacts are handed on.
"""

from __future__ import annotations

import dagster as dg
from upath import UPath

from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import MANIFEST, Artifact, load
from vitlens_core.errors import ConfigError
from workflows.workplace import present

FOLDER = "folder"
LEFT_OUT = "left out"  # a step of the other way into the flow, with the reason
# Materialisations to look through: more than the runs of one modality that can overlap.
_RECENT = 50


class ArtifactIOManager(dg.ConfigurableIOManager):
    """Passes on an artifact's folder between assets; the bytes stay in the store."""

    def handle_output(self, context: dg.OutputContext, obj: Artifact | None) -> None:
        """Do nothing: the asset itself has reported the folder (`workflows.metadata`)."""

    def load_input(self, context: dg.InputContext) -> Artifact | None:
        """Return the artifact; None where the run does without this step."""
        step = context.step_context
        return made(step.instance, step.run_id, context.asset_key)


def made(instance: dg.DagsterInstance, run_id: str, key: dg.AssetKey) -> Artifact | None:
    """Return the artifact of an asset in a run; None where the run does without its step.

    Raises:
        ConfigError: the asset was never made, or its artifact is gone.
    """
    events = instance.fetch_materializations(key, limit=_RECENT).records
    if not events:
        raise ConfigError(f"{key.to_user_string()} was never made: materialise it first")
    # This run's own first: another run may have materialised the same asset meanwhile.
    of_this_run = [event for event in events if event.run_id == run_id]
    materialization = (of_this_run or events)[0].asset_materialization
    assert materialization is not None
    if LEFT_OUT in materialization.metadata:
        return None
    return artifact_of(materialization, present().home.store, is_old=not of_this_run)


def artifact_of(
    materialization: dg.AssetMaterialization, store: Store, *, is_old: bool = False
) -> Artifact:
    """Return the artifact that a materialisation names; `ConfigError` if it is gone.

    Args:
        store: where it lies, also if it lay elsewhere when it was made.
        is_old: whether another run made it, so that this one reuses it.
    """
    # Its place in the present store: the home may have been moved since, or be a copy.
    step, name = UPath(str(materialization.metadata[FOLDER].value)).parts[-2:]
    folder = store.root / step / name
    if not (folder / MANIFEST).exists():
        state = "unfinished" if folder.exists() else "gone"
        asset = materialization.asset_key.to_user_string()
        raise ConfigError(f"{folder} is {state}: materialise {asset} again")
    reused = bool(materialization.metadata["reused"].value) or is_old
    return load(folder, reused=reused)

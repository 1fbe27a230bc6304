"""registered: finds versions by number or alias, for the commands of the registry."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.registry import lineage, models, promotion
from pipelines.registry.version import ModelVersion
from pipelines.store.artifacts import Artifact
from pipelines.store.home import Home
from vitlens_core.errors import ConfigError
from workflows.console import remark
from workflows.text import shown

WHY = click.option("--why", default="", metavar="TEXT", help="Kept in the model's history.")


def known_versions(home: Path, modality: str) -> list[ModelVersion]:
    """Return every version of a modality's model (`ConfigError` if there is none).

    A promotion that was killed is completed first, and the terminal told so.
    """
    if found := promotion.reconcile(home, models.model_name(modality)):
        remark(found)
    if versions := models.versions(home, modality):
        return versions
    raise ConfigError(
        f"{models.model_name(modality)} has no version; `vitlens run {modality}` registers one"
    )


def find_version(modality: str, asked: str) -> tuple[Path, ModelVersion]:
    """Return the home and the version with this number or alias."""
    home = Home.from_environment().root
    versions = known_versions(home, modality)
    for model in versions:
        if asked in (str(model.version), *model.aliases):
            return home, model
    known = [str(model.version) for model in versions]
    known += [alias for model in versions for alias in model.aliases]
    raise ConfigError(f"{versions[0].name} has no {asked!r}; there are {', '.join(known)}")


def stored_artifacts(home: Home, model: ModelVersion) -> dict[str, Artifact]:
    """Return what a version was made of, by step, as far as the home's store has it."""
    made_of = lineage.fingerprints(home.root, model)
    stored = {artifact.fingerprint: artifact for artifact in home.store.artifacts()}
    return {step: stored[own] for step, own in made_of.items() if own in stored}


def called(model: ModelVersion) -> str:
    return shown(f"({', '.join(model.aliases)})") if model.aliases else ""

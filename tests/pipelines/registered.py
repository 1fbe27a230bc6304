"""Made-up runs in a registry: what tests of promotion, lineage and the command line start from."""

from __future__ import annotations

from pathlib import Path

from pipelines.registry import models
from pipelines.registry.version import ModelVersion
from pipelines.store.artifacts import Artifact
from tests.pipelines.finished_run import CONFIG, finished_run, gate_results

NAME = "vitlens-point_cloud"


def register(home: Path, right: float = 0.5, at_least: float = 0.1) -> ModelVersion:
    """Register a run with `right` of its objects recognised, behind one gate."""
    artifacts = finished_run(home, right=right)
    model = challenge(home, artifacts)
    return models.state_gates(home, model, gate_results(artifacts, at_least), "settings")


def challenge(home: Path, artifacts: dict[str, Artifact]) -> ModelVersion:
    return models.register_challenger(home, "point_cloud", CONFIG, artifacts)


def aliases(home: Path) -> dict[int, tuple[str, ...]]:
    return {v.version: v.aliases for v in models.versions(home, "point_cloud")}

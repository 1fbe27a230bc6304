"""Made-up runs in a registry: what tests of promotion, lineage and the command line start from."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipelines.registry import models, promotion
from pipelines.registry.version import ModelVersion
from pipelines.store.artifacts import Artifact
from tests.pipelines.finished_run import CONFIG, finished_run, gate_results

NAME = "vitlens-point_cloud"


_made: dict[object, Path] = {}  # homes, by what they hold


def register(home: Path, right: float = 0.5, at_least: float = 0.1) -> ModelVersion:
    """Register a run with `right` of its objects recognised, behind one gate.

    It takes a second. The first of an empty home is a copy of one that was made before.
    """
    if not _is_empty(home):
        return _register(home, right, at_least)
    as_made_before(home, lambda: _register(home, right, at_least), right, at_least)
    return models.versions(home, "point_cloud")[0]


def champions(home: Path, *rights: float) -> None:
    """Register and promote one run after the other; in an empty home, a copy as well."""

    def make() -> None:
        for right in rights:
            promotion.promote(home, NAME, register(home, right).version, f"reached {right}")

    if _is_empty(home):
        as_made_before(home, make, "champions", *rights)
    else:
        make()


def as_made_before(home: Path, make: Callable[[], object], *what: object) -> None:
    """Make an empty home what `make` makes of it, or a copy of one that was made so before.

    Args:
        what: names it; the settings of the environment are added.
    """
    environment = sorted((k, v) for k, v in os.environ.items() if k[:7] in ("VITLENS", "MLFLOW_"))
    asked = (*what, *((k, v) for k, v in environment if v != str(home)))
    if asked in _made:
        shutil.copytree(_made[asked], home, dirs_exist_ok=True)
        return
    make()
    if not _made:
        atexit.register(
            lambda: [shutil.rmtree(made, ignore_errors=True) for made in _made.values()]
        )
    _made[asked] = Path(shutil.copytree(home, tempfile.mkdtemp(), dirs_exist_ok=True))


def _is_empty(home: Path) -> bool:
    """Whether nothing but the fixture's empty tables is there."""
    return [path.name for path in home.iterdir()] == ["mlflow.db"]


def _register(home: Path, right: float, at_least: float) -> ModelVersion:
    artifacts = finished_run(home, right=right)
    model = challenge(home, artifacts)
    return models.state_gates(home, model, gate_results(artifacts, at_least), "settings")


def challenge(home: Path, artifacts: dict[str, Artifact]) -> ModelVersion:
    return models.register_challenger(home, "point_cloud", CONFIG, artifacts)


def aliases(home: Path) -> dict[int, tuple[str, ...]]:
    return {v.version: v.aliases for v in models.versions(home, "point_cloud")}

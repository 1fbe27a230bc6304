"""registry: what a run does with the registry of a home; another one may stand in its place."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from pipelines.registry import links, models, promotion, tracking
from pipelines.registry.gates.base import GateResult
from pipelines.registry.promotion import Move
from pipelines.registry.server import page
from pipelines.registry.version import CHAMPION, ModelVersion
from pipelines.store.artifacts import Artifact

logger = logging.getLogger(__name__)


@dataclass
class Registry:
    """The registered models of a home, or of the server that MLFLOW_TRACKING_URI names.

    Arguments and errors are those of the functions of `models` and `promotion`.
    """

    home: Path

    def register_challenger(
        self,
        modality: str,
        config: BaseModel | Mapping[str, object],
        artifacts: Mapping[str, Artifact],
    ) -> ModelVersion:
        for found in self.reconcile([modality]):  # its gates compare it with the champion
            logger.warning("%s", found)
        return models.register_challenger(self.home, modality, config, artifacts)

    def state_gates(
        self, model: ModelVersion, results: Sequence[GateResult], settings: str
    ) -> ModelVersion:
        return models.state_gates(self.home, model, results, settings)

    def log_report(self, model: ModelVersion, folder: Path) -> None:
        models.log_report(self.home, model, folder)

    def versions(self, modality: str) -> list[ModelVersion]:
        return models.versions(self.home, modality)

    def by_modality(self, modalities: Sequence[str]) -> dict[str, list[ModelVersion]]:
        return models.by_modality(self.home, modalities)

    def champion(self, modality: str) -> ModelVersion | None:
        """The present champion of a modality, if it has one."""
        found = self.versions(modality)
        return next((version for version in found if CHAMPION in version.aliases), None)

    def settings(self, model: ModelVersion) -> dict[str, str]:
        """The settings that a version was made with, by dotted path."""
        return dict(models.connect(self.home).get_run(model.run_id).data.params)

    def promote(self, model: ModelVersion, why: str) -> ModelVersion:
        return promotion.promote(self.home, model.name, model.version, why)

    def pages(self, model: ModelVersion) -> dict[str, str]:
        """The addresses in MLflow of a version, its run and its report, by what they show."""
        experiment = models.connect(self.home).get_run(model.run_id).info.experiment_id
        return {
            what: page(self.home, path) for what, path in links.paths(model, experiment).items()
        }

    def page_of_training(self, lens: str) -> str | None:
        """The address of the run of a lens, by its fingerprint; None if no run was told of it."""
        run = tracking.run_of_lens(models.connect(self.home), lens)
        if run is None:
            return None
        return page(self.home, f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")

    def reconcile(self, modalities: Sequence[str]) -> list[str]:
        """Complete promotions that were killed; what was found, a sentence for each model."""
        known = [versions[0].name for versions in self.by_modality(modalities).values() if versions]
        return [found for name in known if (found := promotion.reconcile(self.home, name))]

    def replaced(self, model: ModelVersion) -> Move | None:
        return promotion.replaced(self.home, model.name, model.version)

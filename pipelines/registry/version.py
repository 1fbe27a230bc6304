"""version: one version of a registered model, as the tags in MLflow state it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from pipelines.registry.gates.base import GateResult, all_passed
from pipelines.registry.tracking import DIGEST_TAG, EVALUATION_TAG, MAX_TAG

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
RESULTS_TAG, SETTINGS_TAG = "vitlens.gates.results", "vitlens.gates.settings"
GATES_SIGNATURE_TAG, SIGNATURE_TAG = "vitlens.gates.signature", "vitlens.signature"
_CLASSES_TAG = "vitlens.classes."

logger = logging.getLogger(__name__)
_RESULTS = TypeAdapter(tuple[GateResult, ...])


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model, with its present state in the registry."""

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    evaluation: str  # fingerprint of the evaluation that was registered
    gates: tuple[GateResult, ...]  # results; empty before the gates are checked
    gate_settings: str  # digest of the gates' settings, `/`, and the champion compared with
    created_at: datetime
    digest: str = ""  # of its files; see `vitlens_core.digests`
    signature: str = ""  # of name and digest, by the home that registered it
    gate_signature: str = ""  # of its gates, by the home that checked them
    classes: tuple[str, ...] = ()  # that it was evaluated on, sorted

    @property
    def gates_passed(self) -> bool:
        """Whether its gates were checked and none failed."""
        return bool(self.gates) and all_passed(self.gates)

    def gates_statement(self, results: Sequence[GateResult], settings: str) -> dict[str, object]:
        """Return what a home signs when it has checked the gates of these very files."""
        listed = [result.model_dump(mode="json") for result in results]
        made_of = {"name": self.name, "version": self.version, "digest": self.digest}
        return {**made_of, "gates": listed, "settings": settings}

    @property
    def uri(self) -> str:
        """The URI for `mlflow.pyfunc.load_model`."""
        return f"models:/{self.name}/{self.version}"


def class_tags(classes: Sequence[str]) -> dict[str, str]:
    """Return tags with the sorted names of classes, as many as MLflow lets a tag hold in each."""
    tags: dict[str, str] = {}
    lines = ""
    for name in sorted(classes):
        if len(lines) + len(name) >= MAX_TAG:
            tags[f"{_CLASSES_TAG}{len(tags):04d}"], lines = lines, ""
        lines += f"{name}\n"
    return tags | {f"{_CLASSES_TAG}{len(tags):04d}": lines}


def _classes(tags: Mapping[str, str]) -> tuple[str, ...]:
    parts = sorted(key for key in tags if key.startswith(_CLASSES_TAG))
    return tuple("".join(tags[key] for key in parts).splitlines())


def stated_version(source: MlflowVersion, by_alias: Mapping[str, int]) -> ModelVersion:
    version = int(source.version)
    return ModelVersion(
        name=source.name,
        version=version,
        aliases=tuple(sorted(alias for alias, holder in by_alias.items() if holder == version)),
        run_id=source.run_id or "",
        evaluation=source.tags.get(EVALUATION_TAG, ""),
        gates=_gates(source),
        gate_settings=source.tags.get(SETTINGS_TAG, ""),
        created_at=datetime.fromtimestamp(source.creation_timestamp / 1000, UTC),
        digest=source.tags.get(DIGEST_TAG, ""),
        signature=source.tags.get(SIGNATURE_TAG, ""),
        gate_signature=source.tags.get(GATES_SIGNATURE_TAG, ""),
        classes=_classes(source.tags),
    )


def _gates(source: MlflowVersion) -> tuple[GateResult, ...]:
    """Return the stated results; none, with a warning, if the tag is not what a home writes."""
    try:
        return _RESULTS.validate_json(source.tags.get(RESULTS_TAG, "[]"))
    except ValidationError as error:
        found = error.errors()[0]["msg"]
        logger.warning(
            "%s version %s: its gates count as unchecked, the tag %s is damaged: %s",
            source.name, source.version, RESULTS_TAG, found,
        )  # fmt: skip
        return ()

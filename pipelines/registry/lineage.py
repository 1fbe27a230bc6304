"""lineage: traces a registered version to its origin and its results, and compares two.

Reads     the tags, params and figures of the versions' MLflow runs; changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipelines.registry.figures import figures_of
from pipelines.registry.gates.base import GateResult
from pipelines.registry.models import connect, get
from pipelines.registry.server import EXPERIMENT
from pipelines.registry.tracking import EVALUATION_TAG, FINGERPRINT_TAG
from pipelines.registry.version import ModelVersion
from vitlens_core.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")
_REVISION, _SPEC, _DIGEST = (
    "vitlens.code_revision",
    "vitlens.foundation.spec",
    "vitlens.foundation.digest",
)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a lens: its fingerprint, when, and its headline figures."""

    fingerprint: str
    at: datetime
    figures: dict[str, float]


@dataclass(frozen=True)
class Lineage:
    """A version with what it was made of and the results of its evaluations.

    Attributes:
        fingerprints: fingerprint of every artifact it was made of, by step.
        config: every setting by dotted path.
        evaluations: all evaluations of its lens, including this version's own.
    """

    model: ModelVersion
    fingerprints: dict[str, str]
    foundation_spec: str
    foundation_digest: str
    code_revision: str | None
    config: dict[str, str]
    figures: dict[str, float]
    gates: tuple[GateResult, ...]
    evaluations: list[Evaluation]


def lineage(home: Path, name: str, version: int) -> Lineage:
    """Return everything the registry knows of a version (`ConfigError`: no such version)."""
    client = connect(home)
    model = get(client, name, version)
    run = client.get_run(model.run_id)
    tags: dict[str, str] = run.data.tags
    made_of = _fingerprints(tags)
    return Lineage(
        model=model,
        fingerprints=made_of,
        foundation_spec=tags[_SPEC],
        foundation_digest=tags[_DIGEST],
        code_revision=tags.get(_REVISION),
        config=dict(run.data.params),
        figures=figures_of(run),
        gates=model.gates,
        evaluations=_evaluations(client, made_of.get("lens", "")),
    )


def fingerprints(home: Path, model: ModelVersion) -> dict[str, str]:
    """Return the fingerprint of every artifact that a version was made of, by step."""
    return _fingerprints(connect(home).get_run(model.run_id).data.tags)


def _fingerprints(tags: dict[str, str]) -> dict[str, str]:
    return {
        key.removeprefix(FINGERPRINT_TAG): value
        for key, value in tags.items()
        if key.startswith(FINGERPRINT_TAG)
    }


def _evaluations(client: MlflowClient, lens: str) -> list[Evaluation]:
    """Return the evaluations of a lens in the registry's experiment, oldest first."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None or not lens:
        return []
    same = f"tags.`{FINGERPRINT_TAG}lens` = '{lens}'"
    runs = client.search_runs([experiment.experiment_id], same)
    # A run begins with the training; it has no evaluation until the lens is evaluated.
    evaluations = [_evaluation(run) for run in runs if EVALUATION_TAG in run.data.tags]
    return sorted(evaluations, key=lambda evaluation: evaluation.at)


def _evaluation(run: Run) -> Evaluation:
    return Evaluation(
        fingerprint=run.data.tags[EVALUATION_TAG],
        at=datetime.fromtimestamp((run.info.end_time or run.info.start_time) / 1000, UTC),
        figures={k: v for k, v in figures_of(run).items() if k.startswith("zero_shot.top")},
    )


@dataclass(frozen=True)
class Comparison:
    """Two versions side by side: figures of both, and only the settings that differ."""

    figures: dict[str, tuple[float | None, float | None]]
    settings: dict[str, tuple[str | None, str | None]]
    steps: dict[str, tuple[str | None, str | None]]

    @property
    def same_samples(self) -> bool:
        """Whether both were evaluated on the same targets, so that figures may be compared."""
        return "targets" not in self.steps


def compare(home: Path, name: str, one: int, other: int) -> Comparison:
    """Compare two versions of a model (`ConfigError`: no such version, or one and the same)."""
    if one == other:
        raise ConfigError(f"{name}: expected two versions to compare, found {one} twice")
    a, b = lineage(home, name, one), lineage(home, name, other)
    return Comparison(
        figures={k: v for k, v in _both(a.figures, b.figures).items() if _is_result(k)},
        settings=_differing(_both(a.config, b.config)),
        steps=_differing(_both(a.fingerprints, b.fingerprints)),
    )


def _is_result(name: str) -> bool:
    """Whether a figure is a result, not a training curve or the duration of a step."""
    return not name.startswith(("train.", "val.", "seconds."))


def _both(one: dict[str, T], other: dict[str, T]) -> dict[str, tuple[T | None, T | None]]:
    return {key: (one.get(key), other.get(key)) for key in [*one, *(other.keys() - one.keys())]}


def _differing(pairs: dict[str, tuple[T, T]]) -> dict[str, tuple[T, T]]:
    return {key: pair for key, pair in sorted(pairs.items()) if pair[0] != pair[1]}

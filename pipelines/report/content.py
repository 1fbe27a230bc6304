"""content: the content of `report.json`, which the page and the terminal show too."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pipelines.benchmarks.table import Row, read_table
from pipelines.connector.figures import ConnectorFigures
from pipelines.evaluation.result import EvaluationSummary, read_result
from pipelines.foundation.info import read_info
from pipelines.lens.curves import TrainingCurves, read_curves
from pipelines.registry.gates.base import GateResult, Tier
from pipelines.registry.version import ModelVersion
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.text import redacted_values
from vitlens_core.foundation.info import FoundationInfo

REPORT_FILE, PAGE_FILE = "report.json", "report.html"
SamplesAre = Literal["objects", "views", "samples"]


@dataclass(frozen=True)
class Run:
    """A run to report: `artifacts` by step up to `evaluation`, `pages` of its version in MLflow."""

    config: BaseModel | Mapping[str, JsonValue]
    artifacts: Mapping[str, Artifact]
    gates: Sequence[GateResult]
    model: ModelVersion | None
    profile: str | None
    pages: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        config = self.config
        return config.model_dump(mode="json") if isinstance(config, BaseModel) else config


class _Stated(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SampleCounts(_Stated):
    """How many samples were used, and how many left out."""

    ok: int
    quarantined: int


class ReportedGate(_Stated):
    """A checked gate; a figure that is not finite is null."""

    name: str
    tier: Tier
    metric: str
    threshold: float
    value: float | None
    passed: bool
    skipped: bool
    outcome: Literal["passed", "failed", "skipped"]
    reason: str

    @classmethod
    def of(cls, gate: GateResult) -> Self:
        value = gate.value if math.isfinite(gate.value) else None
        return cls.model_validate({**gate.model_dump(), "value": value, "outcome": gate.outcome})


class ReportedModel(_Stated):
    """The version that was registered, with its aliases at that time."""

    name: str
    version: int
    aliases: tuple[str, ...]


class TrainingSummary(_Stated):
    """The course of training in a few figures; those of validation are null without it."""

    steps: int
    train_loss_last: float | None
    val_loss_last: float | None
    val_loss_best: float | None
    val_r1_last: float | None
    val_r1_best: float | None
    validated_against: str | None

    @classmethod
    def of(cls, curves: TrainingCurves) -> Self:
        train, val = curves.train, curves.val
        return cls(
            steps=int(train[-1]["step"]) if train else 0,
            train_loss_last=train[-1]["loss"] if train else None,
            val_loss_last=val[-1].loss if val else None,
            val_loss_best=min((point.loss for point in val), default=None),
            val_r1_last=val[-1].r1 if val else None,
            val_r1_best=max((point.r1 for point in val), default=None),
            validated_against=curves.validated_against,
        )


class Report(EvaluationSummary):
    """The evaluation's figures and everything around them.

    The confusion matrix stays in the evaluation's `metrics.json`: it grows with the square
    of the classes.
    """

    written_at: str = Field(description="ISO 8601, UTC")
    profile: str | None
    samples_are: SamplesAre = Field(description="what a sample is")
    is_generated: bool = Field(description="whether the recordings are generated")
    objects: SampleCounts
    quarantined: tuple[Quarantined, ...]
    gates: tuple[ReportedGate, ...]
    model: ReportedModel | None
    pages: dict[str, str] = Field({}, description="addresses in MLflow, by what they show")
    seconds: dict[str, float] = Field(description="time to make each artifact, by step [s]")
    reused: tuple[str, ...] = Field(description="steps whose artifacts were reused")
    training: TrainingSummary
    foundation: FoundationInfo
    fingerprints: dict[str, str] = Field(description="by step")
    config: dict[str, JsonValue]
    benchmarks: tuple[Row, ...] = Field((), description="figures of public data sets")
    connectors: tuple[ConnectorFigures, ...] = Field(
        (), description="into language models, measured after the run; one for each model"
    )

    @classmethod
    def of(cls, run: Run, connectors: tuple[ConnectorFigures, ...] = ()) -> Self:
        """Make the report of a run, with the connectors that were measured since."""
        made, result = run.artifacts, read_result(run.artifacts["evaluation"])
        quarantined = [q for artifact in made.values() for q in artifact.quarantined()]
        used = made["shards"].manifest.counts["samples"]
        return cls(
            **{name: getattr(result, name) for name in EvaluationSummary.model_fields},
            written_at=datetime.now(UTC).isoformat(timespec="seconds"),
            profile=run.profile,
            samples_are=_samples_are(made),
            is_generated=_is_generated(made),
            objects=SampleCounts(ok=used, quarantined=len(quarantined)),
            quarantined=tuple(quarantined),
            gates=tuple(map(ReportedGate.of, run.gates)),
            model=_model(run.model),
            pages=dict(run.pages),
            seconds={step: artifact.manifest.seconds for step, artifact in made.items()},
            reused=tuple(step for step, artifact in made.items() if artifact.reused),
            training=TrainingSummary.of(read_curves(made["lens"])),
            foundation=read_info(made["foundation"]),
            fingerprints={step: artifact.fingerprint for step, artifact in made.items()},
            config=dict(run.settings),
            benchmarks=read_table(made["benchmarks"]).rows if "benchmarks" in made else (),
            connectors=connectors,
        )

    def with_connector(self, measured: ConnectorFigures) -> Self:
        """Return the report with a connector, in place of an earlier one of its language model."""
        others = [c for c in self.connectors if c.language_model != measured.language_model]
        return self.model_copy(update={"connectors": (*others, measured)})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the report in a folder that `report.write` made."""
        return cls.model_validate_json((folder / REPORT_FILE).read_bytes())


def connectors_in(folder: Path) -> tuple[ConnectorFigures, ...]:
    """Return the connectors of the report in a folder; none without one that can be read."""
    try:
        return Report.read(folder).connectors
    except (FileNotFoundError, ValidationError):
        return ()


def encode_readable(stated: BaseModel) -> bytes:
    """Encode as indented JSON; numbers that are not finite become null, as JSON has none."""
    content = redacted_values(_finite(stated.model_dump(mode="json")))
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode()


def _samples_are(artifacts: Mapping[str, Artifact]) -> SamplesAre:
    """Say what a sample is: an object, one view of it, or a sample of a data set."""
    if "objects" not in artifacts:
        return "samples"
    objects, samples = (
        artifacts[step].manifest.counts["samples"] for step in ("renders", "shards")
    )
    return "objects" if objects == samples else "views"


def _is_generated(artifacts: Mapping[str, Artifact]) -> bool:
    source = artifacts.get("source")
    return source is not None and source.manifest.config["generated"]


def _model(model: ModelVersion | None) -> ReportedModel | None:
    if model is None:
        return None
    return ReportedModel(name=model.name, version=model.version, aliases=model.aliases)


def _finite(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

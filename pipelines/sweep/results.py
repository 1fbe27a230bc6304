"""results: the content of `sweep.json`, which the page, the plot and MLflow show too.

It has two kinds of figures. Validation figures, measured by training, are for choosing a point.
Held-out figures say how good a point is once it has been chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from pipelines.evaluation.result import Recalls, Scores
from pipelines.execution.shard_tasks import shard_sizes
from pipelines.lens.settings import TrainConfig
from pipelines.report.content import Report, Run, SamplesAre
from pipelines.store.artifacts import Artifact, digest
from pipelines.sweep.over_seeds import OverSeeds, Seeded, summarized
from vitlens_core.foundation.info import FoundationInfo

_WHERE = {"resources", "tracking"}  # sections that do not change what is computed

RESULTS_FILE = "sweep.json"


@dataclass(frozen=True)
class SweepPoint:
    """One point after its run.

    Attributes:
        label: its name in the table.
        overrides: overrides that turn the profile into the point.
        config: all its settings.
        is_profile: whether its settings are those of the profile.
        artifacts: by step, up to `evaluation`; empty if it failed.
        failure: why it failed; empty if it did not.
        value: the axis's value, which several points have if they differ by their seed.
    """

    label: str
    overrides: Sequence[str]
    config: BaseModel
    is_profile: bool
    artifacts: Mapping[str, Artifact]
    failure: str = ""
    value: str = ""


@dataclass(frozen=True)
class Sweep:
    """A sweep that was run: its axis, what it started from, and every point."""

    modality: str
    axis: str
    varied: str
    profile: str
    overrides: Sequence[str]
    points: Sequence[SweepPoint]

    @cached_property
    def fingerprint(self) -> str:
        """The identity of the comparison; where it ran does not enter."""
        configs = [p.config.model_dump(mode="json", exclude=_WHERE) for p in self.points]
        labels = [point.label for point in self.points]
        return digest([self.modality, self.axis, self.profile, labels, configs])


class _Stated(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Validation(_Stated):
    """What training measured at its last step."""

    r1: float
    loss: float
    against: str = Field(description="the kind of target, as training states it")
    n: int = Field(description="samples of the validation split")


class PointTraining(_Stated):
    """How long a point was trained."""

    steps: int
    batch_size: int
    epochs: float = Field(description="through the samples that are trained on")
    seed: int
    seconds: float


class _PointResult(_Stated):
    label: str
    value: str = Field("", description="of the axis; several points have it, one for each seed")
    overrides: tuple[str, ...]
    is_profile: bool


class FailedPoint(_PointResult):
    """A point that has no figures, and why."""

    failure: str = Field(min_length=1)
    validation: None = None


class MadePoint(_PointResult):
    """A point with its figures."""

    failure: None = None
    validation: Validation | None = Field(description="null without validation samples")
    zero_shot: Scores
    times_chance: float
    retrieval: dict[str, Recalls]
    emergent: bool
    fingerprints: dict[str, str]
    foundation: FoundationInfo
    training: PointTraining


class SweepResults(_Stated):
    """A sweep's table."""

    modality: str
    axis: str
    varied: str
    profile: str
    overrides: tuple[str, ...]
    fingerprint: str
    written_at: str = Field(description="ISO 8601, UTC")
    samples_are: SamplesAre
    is_generated: bool
    best_on_validation: tuple[str, ...] = Field(description="labels; see `best_on_validation`")
    points: tuple[MadePoint | FailedPoint, ...]
    over_seeds: tuple[OverSeeds, ...] = Field(
        (), description="by value, if values were trained with several seeds"
    )

    @classmethod
    def of(cls, sweep: Sweep) -> Self:
        """Compute the results of a sweep."""
        reports = [_report(point, sweep.profile) for point in sweep.points]
        made = [report for report in reports if report]
        points = tuple(_result(*both) for both in zip(sweep.points, reports, strict=True))
        return cls(
            modality=sweep.modality,
            axis=sweep.axis,
            varied=sweep.varied,
            profile=sweep.profile,
            overrides=tuple(sweep.overrides),
            fingerprint=sweep.fingerprint,
            written_at=datetime.now(UTC).isoformat(timespec="seconds"),
            samples_are=made[0].samples_are if made else "samples",
            is_generated=any(report.is_generated for report in made),
            best_on_validation=best_on_validation(points),
            points=points,
            over_seeds=over_seeds(points),
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the results in a folder that `sweep.write` made."""
        return cls.model_validate_json((folder / RESULTS_FILE).read_bytes())

    @property
    def made(self) -> list[MadePoint]:
        return [point for point in self.points if isinstance(point, MadePoint)]

    @property
    def failed(self) -> list[FailedPoint]:
        return [point for point in self.points if isinstance(point, FailedPoint)]


def best_on_validation(points: Sequence[MadePoint | FailedPoint]) -> tuple[str, ...]:
    """Return the labels of the points with the highest validation R@1.

    Empty if it was not measured, or if points were validated against different kinds of targets.
    """
    measured = {point.label: point.validation for point in points if point.validation}
    if len({validation.against for validation in measured.values()}) != 1:
        return ()
    highest = max(validation.r1 for validation in measured.values())
    return tuple(label for label, validation in measured.items() if validation.r1 == highest)


def over_seeds(points: Sequence[MadePoint | FailedPoint]) -> tuple[OverSeeds, ...]:
    """Summarise points that differ by their seed; nothing if none do."""
    made = [point for point in points if isinstance(point, MadePoint) and point.value]
    return summarized(
        [
            Seeded(
                value=point.value,
                seed=point.training.seed,
                top1=point.zero_shot.top1.value,
                r1=point.validation.r1 if point.validation else None,
            )
            for point in made
        ]
    )


def _report(point: SweepPoint, profile: str) -> Report | None:
    """Return the report of a point, or None if it failed."""
    if point.failure:
        return None
    return Report.of(Run(point.config, point.artifacts, (), None, profile))


def _result(point: SweepPoint, report: Report | None) -> MadePoint | FailedPoint:
    label, overrides, is_profile = point.label, tuple(point.overrides), point.is_profile
    if report is None:
        return FailedPoint(
            label=label,
            value=point.value,
            overrides=overrides,
            is_profile=is_profile,
            failure=point.failure,
        )
    return MadePoint(
        label=label,
        value=point.value,
        overrides=overrides,
        is_profile=is_profile,
        validation=_validation(report, point.artifacts["targets"]),
        zero_shot=report.zero_shot,
        times_chance=report.times_chance,
        retrieval=report.retrieval,
        emergent=report.emergent,
        fingerprints=report.fingerprints,
        foundation=report.foundation,
        training=_training(point, report),
    )


def _training(point: SweepPoint, report: Report) -> PointTraining:
    train = TrainConfig.model_validate(point.config.model_dump()["lens"]["train"])
    drawn = train.steps * train.batch_size
    return PointTraining(
        steps=train.steps,
        batch_size=train.batch_size,
        epochs=drawn / (train.share * sum(shard_sizes(point.artifacts["targets"], "train"))),
        seed=train.seed,
        seconds=report.seconds["lens"],
    )


def _validation(report: Report, targets: Artifact) -> Validation | None:
    measured = report.training
    if measured.val_r1_last is None:
        return None
    assert measured.val_loss_last is not None
    assert measured.validated_against is not None
    return Validation(
        r1=measured.val_r1_last,
        loss=measured.val_loss_last,
        against=measured.validated_against,
        n=sum(shard_sizes(targets, "val")),
    )

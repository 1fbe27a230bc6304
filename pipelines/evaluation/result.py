"""result: the types of an evaluation's files.

    metrics.json       EvaluationResult
    predictions.json   Predictions
    calibration.json   Calibration

In JSON a figure is a number, and the bounds of its 95 % interval lie beside it under `ci95`; in
Python both are one `Interval`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    RootModel,
    model_serializer,
    model_validator,
)

from pipelines.store.artifacts import Artifact
from pipelines.targets.step import in_order
from vitlens_core import metrics
from vitlens_core.metrics import Interval

METRICS_FILE, PREDICTIONS_FILE = "metrics.json", "predictions.json"
_BOUNDS = "ci95"


def _is_unset(value: object) -> bool:
    return value is None


class _WithIntervals(BaseModel):
    """Figures, some of them with intervals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _join_bounds(cls, stated: object) -> object:
        if not isinstance(stated, Mapping) or _BOUNDS not in stated:
            return stated
        joined = {name: value for name, value in stated.items() if name != _BOUNDS}
        for name, (low, high) in stated[_BOUNDS].items():
            joined[name] = {"value": joined.get(name), "low": low, "high": high}
        return joined

    @model_serializer
    def _part_bounds(self) -> dict[str, object]:
        parted: dict[str, object] = {}
        bounds: dict[str, list[float]] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, Interval):
                bounds[name] = [value.low, value.high]
                value = value.value
            parted[name] = value
        return parted | {_BOUNDS: bounds}


class Scores(_WithIntervals):
    """Classification: shares of n samples whose class is among the k nearest.

    Left out where k reaches the number of classes: it is 1 then.
    """

    top1: Interval
    top3: Interval | None = None
    top5: Interval | None = None
    class_mean: Interval = Field(description="mean over classes of their top-1")
    chance: float = Field(description="top-1 of guessing")
    n: int = Field(ge=1, description="samples")
    groups: int = Field(
        ge=1, description="independent groups of them; over fewer than 10, intervals are Student's"
    )

    @classmethod
    def of(cls, found: metrics.ZeroShot) -> Self:
        """Take the scores of a classification, without its confusion matrix."""
        return cls(
            top1=found.top1,
            top3=found.top3,
            top5=found.top5,
            class_mean=found.class_mean,
            chance=found.chance,
            n=found.n,
            groups=found.groups,
        )


class Recalls(_WithIntervals):
    """Retrieval: shares of samples with a right item among the nearest 1, 5 and 10.

    Left out where k reaches the number of items: it is 1 then.
    """

    r1: Interval
    r5: Interval | None = None
    r10: Interval | None = None


class Calibration(_WithIntervals):
    """The temperature that turns similarities into probabilities, and their errors."""

    temperature: float = Field(gt=0)
    fitted_on: Literal["val"] = "val"
    n: int = Field(description="samples it was fitted on")
    classes: int
    trained_with: float = Field(gt=0, description="the lens's own temperature")
    ece: Interval = Field(description="expected calibration error on held-out samples")
    ece_before: Interval = Field(description="the same with the lens's own temperature")


# What stands for a class: its words, or a prototype of its training pictures.
ClassesBy = Literal["words", "prototypes"]


class Supervision(RootModel[dict[str, PositiveFloat]]):
    """Weight of each kind of target that a lens was trained against."""

    model_config = ConfigDict(frozen=True)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds, in the order of `in_order`."""
        return in_order(self.root)


class EvaluationSummary(BaseModel):
    """All results of an evaluation except the confusion matrix, which grows with K²."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str
    split: Literal["test", "val"]
    classes: tuple[str, ...]
    zero_shot: Scores
    times_chance: float = Field(description="top-1 over chance")
    retrieval: dict[str, Recalls] = Field(description="by way, such as point_to_image")
    supervision: Supervision
    classes_by: ClassesBy = Field(
        "words",
        exclude_if=lambda by: by == "words",
        description="what samples are compared with: words, or where the foundation has none "
        "prototypes of the classes, of training pictures",
    )
    emergent: bool = Field(description="whether words stand for classes that the lens never saw")
    teacher_zero_shot: dict[str, Scores] = Field(
        {},
        exclude_if=lambda scores: not scores,
        description="of each lens that taught, by name, on the same samples",
    )
    foundation_image_zero_shot: Scores | None = Field(
        None, exclude_if=_is_unset, description="the ceiling: the foundation on the samples' images"
    )
    ratio_to_foundation: float | None = Field(
        None, exclude_if=_is_unset, description="top-1 over the ceiling's"
    )
    calibration: Calibration | None = Field(None, exclude_if=_is_unset)

    def figures(self) -> dict[str, float]:
        """Return every number by dotted path, as `zero_shot.top1` and `zero_shot.ci95.top1.low`."""
        content = self.model_dump(mode="json", include=set(EvaluationSummary.model_fields))
        return dict(_numbers(content, ""))


class EvaluationResult(EvaluationSummary):
    """All results of an evaluation."""

    confusion: tuple[tuple[int, ...], ...] = Field(
        description="[K, K] samples by true class (rows) and predicted class (columns)"
    )


class Prediction(BaseModel):
    """A lens's prediction for one sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    group: str
    name: str
    label: str
    correct: bool = Field(description="whether its own class is nearer than every other")
    predicted: tuple[str, ...] = Field(description="its nearest classes, best first; five at most")
    scores: tuple[float, ...] = Field(description="their cosines")
    neighbours: tuple[str, ...] = Field(description="keys of the samples with the nearest images")


class Predictions(RootModel[tuple[Prediction, ...]]):
    """Every sample of the split, in the order of its shards."""


def read_result(evaluation: Artifact) -> EvaluationResult:
    """Read `metrics.json`."""
    return evaluation.read_model(METRICS_FILE, EvaluationResult)


def read_predictions(evaluation: Artifact) -> tuple[Prediction, ...]:
    """Read `predictions.json`."""
    return evaluation.read_model(PREDICTIONS_FILE, Predictions).root


def _numbers(value: object, path: str) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a JSON value; lists are left out, except bounds."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)
    elif isinstance(value, list) and f".{_BOUNDS}." in path:
        low, high = value
        yield from ((f"{path}.low", float(low)), (f"{path}.high", float(high)))

"""over_seeds: figures of one setting over several seeds: means with intervals, and differences.

An interval here is over trainings: how far the mean would move with other seeds. It says nothing
of other samples, as the bootstrap intervals of the points do. Differences are taken seed by seed,
since trainings of one seed share data order, augmentation and initial weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from pydantic import BaseModel, ConfigDict, Field

from vitlens_core.intervals import Interval, t_quantile

_UPPER = 0.975  # of a two-sided interval of 95 %


@dataclass(frozen=True)
class Seeded:
    """The figures of one training."""

    value: str
    seed: str
    top1: float
    r1: float | None


class OverSeeds(BaseModel):
    """One value of the axis over its seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str
    seeds: int = Field(description="trainings that were made")
    top1: Interval = Field(description="held-out top-1")
    validation_r1: Interval | None = Field(
        description="validation R@1; null if it was not measured"
    )
    difference: Interval | None = Field(
        description="of held-out top-1 to the first value, seed by seed; null for the first"
    )


def summarized(trainings: Sequence[Seeded]) -> tuple[OverSeeds, ...]:
    """Summarise values that were trained with two or more seeds, in their order."""
    by_value: dict[str, dict[str, Seeded]] = {}
    for training in trainings:
        by_value.setdefault(training.value, {})[training.seed] = training
    enough = {value: runs for value, runs in by_value.items() if len(runs) > 1}
    if not enough:
        return ()
    first = next(iter(enough))
    return tuple(_over(value, runs, enough[first]) for value, runs in enough.items())


def _over(value: str, runs: dict[str, Seeded], first: dict[str, Seeded]) -> OverSeeds:
    measured = [run.r1 for run in runs.values() if run.r1 is not None]
    pairs = [] if runs is first else [(runs[seed], first[seed]) for seed in runs if seed in first]
    differences = [own.top1 - other.top1 for own, other in pairs]
    return OverSeeds(
        value=value,
        seeds=len(runs),
        top1=mean_over_seeds([run.top1 for run in runs.values()]),
        validation_r1=mean_over_seeds(measured) if len(measured) > 1 else None,
        difference=mean_over_seeds(differences) if len(differences) > 1 else None,
    )


def mean_over_seeds(values: Sequence[float]) -> Interval:
    """Return the mean with its 95 % interval by Student's t."""
    mean = fmean(values)
    reach = t_quantile(_UPPER, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - reach, mean + reach)

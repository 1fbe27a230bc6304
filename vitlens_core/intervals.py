"""Confidence intervals over samples that come in groups (an object, a subject).

Many groups: percentile bootstrap over whole groups. Two cases need another one:

few groups         the percentile bootstrap is too narrow with few clusters (Cameron, Gelbach and
                   Miller, Review of Economics and Statistics 90, 2008); below `FEW_GROUPS` the
                   interval is that of Student's t with a jackknife over groups (MacKinnon,
                   Nielsen and Webb, Journal of Applied Econometrics 38, 2023)
all or none right  every resample is the same, so that the bootstrap has no width; the interval is
                   the exact one of Clopper and Pearson (Biometrika 26, 1934), with a group as
                   one trial

Axes: B samples, R resamples, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
# From how often each sample counts [R, B] to the figure of each resample [R].
Statistic = Callable[[Ints], Floats]

FEW_GROUPS = 10
_OUTSIDE = 0.025  # on either side of a 95 % interval
_STEPS = 4000  # of the integral of Student's t; quantiles are then exact to 1e-6


@dataclass(frozen=True)
class Interval:
    """A figure with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Draws:
    """Resamples of B samples.

    Attributes:
        times: how often each sample counts in each resample, [R, B].
        group_of: number of the group of each sample, [B].
    """

    times: Ints
    group_of: Ints

    @property
    def groups(self) -> int:
        return int(self.group_of.max()) + 1

    def interval(self, statistic: Statistic) -> Interval:
        """Compute a figure in [0, 1] of all samples, and its interval."""
        value = float(statistic(np.ones((1, len(self.group_of)), dtype=self.times.dtype))[0])
        if self.groups < FEW_GROUPS:
            # Groups that all say the same, as few as they are, leave everything open.
            reach = self._reach(statistic, 1 - _OUTSIDE) or math.inf
            return Interval(value, max(0.0, value - reach), min(1.0, value + reach))
        low, high = np.percentile(statistic(self.times), [100 * _OUTSIDE, 100 * (1 - _OUTSIDE)])
        return Interval(value, float(low), float(high))

    def share(self, hits: NDArray[np.bool_ | np.number]) -> Interval:
        """Compute the share of hits [B] and its interval."""
        if hits.all() or not hits.any():
            low, high = clopper_pearson(self.groups if hits.all() else 0, self.groups)
            return Interval(float(hits.mean()), low, high)
        # Groups differ in size, and so do the resamples.
        return self.interval(lambda times: times @ hits / times.sum(axis=1))

    def lower_bound(self, statistic: Statistic, confidence: float) -> float:
        """Return what a figure is at least, with a one-sided confidence."""
        if self.groups < FEW_GROUPS:
            whole = np.ones((1, len(self.group_of)), dtype=self.times.dtype)
            return float(statistic(whole)[0]) - self._reach(statistic, confidence)
        return float(np.quantile(statistic(self.times), 1 - confidence))

    def _reach(self, statistic: Statistic, confidence: float) -> float:
        """Return the distance of a bound by Student's t, from figures without each group in turn.

        A single group says nothing of others: the bounds are then as far apart as they can be.
        """
        if self.groups == 1:
            return math.inf
        others = (self.group_of[None] != np.arange(self.groups)[:, None]).astype(self.times.dtype)
        without = statistic(others)
        variance = (self.groups - 1) / self.groups * float(((without - without.mean()) ** 2).sum())
        return t_quantile(confidence, self.groups - 1) * math.sqrt(variance)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals over B samples are drawn.

    Attributes:
        resamples: R, the number of resamples.
        groups: [B] the group of each sample (an object, a subject). Samples of one group are not
            independent, so whole groups are resampled. By default each sample is a group.
    """

    resamples: int = 2000
    seed: int = 0
    groups: Sequence[str] | None = None

    def of(self, groups: Sequence[str]) -> Bootstrap:
        """Return a copy for samples of these groups [B]."""
        return replace(self, groups=groups)

    def draws(self, count: int) -> Draws:
        """Draw resamples of `count` samples.

        A resample draws as many groups as there are, with replacement.
        """
        _, group_of = np.unique(np.asarray(self.groups or range(count)), return_inverse=True)
        groups = int(group_of.max()) + 1
        drawn = np.random.default_rng(self.seed).integers(groups, size=(self.resamples, groups))
        # Counts instead of indices: one matrix product gives a figure's mean in every resample.
        times = np.stack([np.bincount(row, minlength=groups) for row in drawn])[:, group_of]
        return Draws(times, group_of)


def clopper_pearson(hits: int, trials: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share of which all trials, or none, are hits."""
    width = 1 - _OUTSIDE ** (1 / trials)
    return (0.0, width) if hits == 0 else (1 - width, 1.0)


def t_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's t above the median, by bisection."""
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2))
    scale /= math.sqrt(degrees * math.pi)

    def above_median(bound: float) -> float:
        # t = √ν tan θ turns the integral over [0, bound] into one over a bounded range.
        theta = np.linspace(0, math.atan(bound / math.sqrt(degrees)), _STEPS)
        density = scale * math.sqrt(degrees) * np.cos(theta) ** (degrees - 1)
        return float(np.trapezoid(density, theta))

    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if above_median(middle) < probability - 0.5 else (low, middle)
    return high

"""Intervals of few groups, and where all or none are right."""

import numpy as np
import pytest
from scipy import stats

from vitlens_core.intervals import FEW_GROUPS, Bootstrap, clopper_pearson, t_quantile


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 8, 30])
@pytest.mark.parametrize("probability", [0.75, 0.95, 0.975])
def test_quantiles_are_those_of_students_t(probability: float, degrees: int) -> None:
    # The integral has 4,000 steps.
    expected = stats.t.ppf(probability, degrees)
    assert t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("trials", [1, 4, 12, 100])
def test_the_exact_interval_is_that_of_clopper_and_pearson(trials: int) -> None:
    for hits in (0, trials):
        exact = stats.binomtest(hits, trials).proportion_ci(0.95, method="exact")
        assert clopper_pearson(hits, trials) == pytest.approx((exact.low, exact.high))


def test_four_of_four_is_not_certain() -> None:
    found = Bootstrap().draws(4).share(np.ones(4, bool))
    assert found.value == found.high == 1
    assert found.low == pytest.approx(0.398, abs=1e-3)


def test_groups_that_are_all_right_count_once_each() -> None:
    groups = ["a"] * 50 + ["b"] * 50
    found = Bootstrap(groups=groups).draws(100).share(np.ones(100, bool))
    assert found.low == pytest.approx(0.025 ** (1 / 2))


def test_two_groups_have_a_wide_interval() -> None:
    """.70 and .74 of two subjects say little of a third."""
    hits = np.repeat([1, 0, 1, 0], [105, 45, 112, 39])
    found = Bootstrap(groups=["a"] * 150 + ["b"] * 151).draws(301).share(hits)
    assert found.high - found.low > 0.4


def test_few_groups_that_agree_have_no_interval_without_a_width() -> None:
    """A model that names one class only: a class is all right or wrong, whoever is left out."""
    hits = np.array([1, 1, 0, 0, 0, 0])
    of_class = np.eye(3)[[0, 0, 1, 1, 2, 2]]

    def class_mean(times: np.ndarray) -> np.ndarray:
        return ((times @ (of_class * hits[:, None])) / (times @ of_class)).mean(axis=1)

    found = Bootstrap().draws(6).interval(class_mean)
    assert (found.low, found.high) == (0, 1)


def test_one_group_says_nothing_of_others() -> None:
    found = Bootstrap(groups=["a"] * 4).draws(4).share(np.array([1, 0, 1, 1]))
    assert (found.low, found.high) == (0, 1)


def test_the_bound_of_a_difference_widens_with_few_groups() -> None:
    differences = np.repeat([1, 0, 0], [14, 13, 13])

    def mean(times: np.ndarray) -> np.ndarray:
        return times @ differences / times.sum(axis=1)

    few = Bootstrap(groups=[str(i // 14) for i in range(40)]).draws(40).lower_bound(mean, 0.95)
    many = Bootstrap().draws(40).lower_bound(mean, 0.95)
    assert few < many


@pytest.mark.slow
@pytest.mark.parametrize("groups", [3, 5, 8])
def test_intervals_over_few_groups_cover_what_they_should(groups: int) -> None:
    """Groups with a share of their own; the percentile bootstrap covers far less."""
    assert groups < FEW_GROUPS
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        shares = np.clip(rng.normal(0.6, 0.1, groups), 0, 1)
        hits = rng.random((groups, 40)) < shares[:, None]
        names = [str(group) for group in range(groups) for _ in range(40)]
        found = Bootstrap(resamples=2, groups=names).draws(len(names)).share(hits.ravel())
        covered += found.low <= 0.6 <= found.high
    assert covered / 300 > 0.9  # 95 % less what 300 trials may miss

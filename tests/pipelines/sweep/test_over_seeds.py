"""Means over seeds, their intervals, and differences seed by seed."""

from __future__ import annotations

import pytest

from pipelines.sweep.over_seeds import Seeded, summarized


def _of(value: str, *figures: float) -> list[Seeded]:
    return [Seeded(value, n, top1, top1 / 2) for n, top1 in enumerate(figures)]


def test_a_mean_has_the_interval_of_student_s_t() -> None:
    """Of .3, .4, .5: deviation .1, t of 2 degrees of freedom 4.303."""
    [found] = summarized(_of("a", 0.3, 0.4, 0.5))
    reach = 4.302653 * 0.1 / 3**0.5
    assert found.top1.value == pytest.approx(0.4)
    assert (found.top1.low, found.top1.high) == pytest.approx((0.4 - reach, 0.4 + reach), abs=1e-5)
    assert found.validation_r1 is not None
    assert found.validation_r1.value == pytest.approx(0.2)
    assert (found.seeds, found.difference) == (3, None)


def test_differences_are_taken_seed_by_seed() -> None:
    """The seeds differ by far more than the values, and yet the difference is narrow."""
    _, other = summarized([*_of("a", 0.1, 0.4, 0.8), *_of("b", 0.15, 0.46, 0.85)])
    assert other.difference is not None
    assert other.difference.value == pytest.approx(0.16 / 3)
    assert other.difference.low > 0
    assert other.top1.low < 0.1


def test_a_seed_that_failed_for_one_value_is_left_out_of_the_differences() -> None:
    first, other = summarized([*_of("a", 0.1, 0.4, 0.8), *_of("b", 0.2, 0.5)])
    assert (first.seeds, other.seeds) == (3, 2)
    assert other.difference is not None
    assert other.difference.value == pytest.approx(0.1)


def test_one_seed_is_no_sample_of_seeds() -> None:
    assert summarized([*_of("a", 0.1), *_of("b", 0.2)]) == ()
    assert summarized([]) == ()

"""Random numbers by row: the same in any batch, and as good as torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitlens_core.errors import InputError
from vitlens_core.row_generator import RowGenerator

labels = st.text(max_size=12)
quick = settings(deadline=None, max_examples=25)


@given(label=labels, rows=st.lists(st.integers(0, 2**31), min_size=2, max_size=6, unique=True))
@quick
def test_a_row_draws_the_same_alone_and_among_others(label: str, rows: list[int]) -> None:
    together = RowGenerator.of(label, rows)
    drawn = [together.rand(len(rows), 3), together.randn(len(rows), 2, 2)]
    for number, row in enumerate(rows):
        alone = RowGenerator.of(label, [row])
        for found, among in zip([alone.rand(1, 3), alone.randn(1, 2, 2)], drawn, strict=True):
            assert torch.equal(found[0], among[number])


def test_rows_steps_and_draws_differ() -> None:
    first = RowGenerator.of("0/1", range(100))
    drawn = [
        first.bits(100, 50),
        first.bits(100, 50),
        RowGenerator.of("0/2", range(100)).bits(100, 50),
    ]
    assert torch.stack(drawn).unique().numel() == 3 * 100 * 50


def test_the_numbers_of_a_seed_are_these_for_ever() -> None:
    """A change would let a training that is resumed see other variants."""
    generator = RowGenerator.of("0/0", range(2))
    assert generator.bits(2, 2).tolist() == [
        [8196584407395367631, 1797174289582006430],
        [8807141724758337777, 7257801508961501061],
    ]


@pytest.mark.parametrize("seed", range(3))
def test_uniform_and_bell_shaped_numbers_are_what_they_are_named(seed: int) -> None:
    """Bounds of five deviations of each estimate from 400,000 numbers."""
    generator = RowGenerator.of(str(seed), range(400))
    uniform, normal = generator.rand(400, 1000).double(), generator.randn(400, 1000).double()
    count = uniform.numel()
    assert (uniform >= 0).all()
    assert (uniform < 1).all()
    assert abs(uniform.mean() - 0.5) < 5 * math.sqrt(1 / 12 / count)
    cells = torch.histc(uniform.float(), 64, 0, 1)
    assert ((cells - count / 64) ** 2 / (count / 64)).sum() < 63 + 5 * math.sqrt(2 * 63)
    assert abs(normal.mean()) < 5 / math.sqrt(count)
    assert abs(normal.std() - 1) < 5 / math.sqrt(2 * count)
    assert abs(normal.pow(3).mean()) < 5 * math.sqrt(15 / count)
    assert normal.abs().max() < 3.5
    # Neighbours in a row, and the same place of neighbouring rows.
    for drawn in (uniform - 0.5, normal):
        spread = drawn.var() * 5 / math.sqrt(count)
        assert abs((drawn[:, 1:] * drawn[:, :-1]).mean()) < spread
        assert abs((drawn[1:] * drawn[:-1]).mean()) < spread


@given(low=st.integers(-50, 50), size=st.integers(1, 40))
@quick
def test_integers_are_within_their_bounds_and_reach_them(low: int, size: int) -> None:
    found = RowGenerator.of("x", range(50)).randint(low, low + size, 50, 40)
    assert (found.min(), found.max()) == (low, low + size - 1)


@given(count=st.integers(1, 20), more=st.integers(0, 20))
@quick
def test_a_subset_has_different_numbers_in_order(count: int, more: int) -> None:
    found = RowGenerator.of("x", range(8)).subset(8, count, count + more)
    assert found.shape == (8, count)
    assert (found.diff(dim=1) > 0).all()
    assert found.min() >= 0
    assert found.max() < count + more


def test_every_number_is_as_likely_in_a_subset() -> None:
    found = RowGenerator.of("x", range(5000)).subset(5000, 5, 20)
    shares = torch.bincount(found.flatten(), minlength=20) / 5000
    assert (shares - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / 5000)


def test_shapes_of_another_number_of_rows_are_refused() -> None:
    with pytest.raises(InputError, match=r"3 rows, found \[2, 4\]"):
        RowGenerator.of("x", range(3)).rand(2, 4)

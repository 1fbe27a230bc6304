"""InfoNCE: what it is invariant to, its limits, and its positives."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitlens_core.errors import InputError
from vitlens_core.losses import gather_rows, info_nce

seeds = st.integers(0, 2**31)
sizes = st.integers(2, 12)
quick = settings(deadline=None, max_examples=30)


def _pairs(seed: int, rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, rows, 6, generator=generator, dtype=torch.float64)
    return F.normalize(a, dim=-1), F.normalize(b, dim=-1)


@given(seed=seeds, rows=sizes, scale=st.floats(0.1, 100))
@quick
def test_it_is_the_mean_of_both_directions_of_cross_entropy(seed, rows, scale):
    a, b = _pairs(seed, rows)
    logits = (scale * a @ b.T).tolist()
    total = 0.0
    for i in range(rows):
        row = [logits[i][j] for j in range(rows)]
        column = [logits[j][i] for j in range(rows)]
        for line in (row, column):
            total += math.log(sum(math.exp(x - max(line)) for x in line)) + max(line) - line[i]
    assert info_nce(a, b, scale).item() == pytest.approx(total / (2 * rows), abs=1e-9)


@given(seed=seeds, rows=sizes)
@quick
def test_order_of_pairs_and_of_sides_is_irrelevant(seed, rows):
    a, b = _pairs(seed, rows)
    label_ids = torch.arange(rows) % 3
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    for ids, shuffled in ((None, None), (label_ids, label_ids[order])):
        loss = info_nce(a, b, 10.0, ids)
        torch.testing.assert_close(info_nce(b, a, 10.0, ids), loss)
        torch.testing.assert_close(info_nce(a[order], b[order], 10.0, shuffled), loss)


@given(seed=seeds, rows=sizes)
@quick
def test_labels_of_one_row_are_the_pairs_alone(seed, rows):
    a, b = _pairs(seed, rows)
    names = torch.arange(rows) * 7 - 3
    torch.testing.assert_close(info_nce(a, b, 10.0, names), info_nce(a, b, 10.0))


def test_rows_of_one_label_share_the_blame():
    """Two rows of one label, embedded alike: nothing to tell apart but log 2."""
    a = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]), dim=-1)
    label_ids = torch.tensor([5, 5, 9])
    assert info_nce(a, a, 1000.0, label_ids).item() == pytest.approx(math.log(2) * 2 / 3, abs=1e-6)
    assert info_nce(a, a, 1000.0, torch.tensor([5, 6, 9])).item() == pytest.approx(
        math.log(2) * 2 / 3, abs=1e-6
    )
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert info_nce(apart, apart, 1000.0).item() == pytest.approx(0, abs=1e-6)
    assert info_nce(apart, apart, 1000.0, label_ids).item() > 100


@pytest.mark.parametrize("rows", [2, 9])
def test_without_scale_nothing_is_told_apart(rows):
    a, b = _pairs(0, rows)
    assert info_nce(a, b, 0.0).item() == pytest.approx(math.log(rows))


def test_descending_the_loss_aligns_the_pairs():
    a, b = (x.clone().requires_grad_() for x in _pairs(0, 8))
    optimizer = torch.optim.Adam([a, b], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        info_nce(F.normalize(a, dim=-1), F.normalize(b, dim=-1), 20.0).backward()
        optimizer.step()
    nearest = (F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T).argmax(1)
    assert nearest.tolist() == list(range(8))


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((4,), (4,))])
def test_what_is_not_paired_is_refused(shapes):
    a, b = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(InputError, match=r"two \[B, E\]"):
        info_nce(a, b, 1.0)


def test_one_worker_gathers_its_own_rows():
    rows = torch.randn(3, 2)
    assert gather_rows(rows) is rows

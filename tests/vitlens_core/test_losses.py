"""Losses: what they are invariant to, their limits, their positives and their negatives."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitlens_core.errors import InputError
from vitlens_core.losses.base import LOSSES, Loss, Negatives, Pairs
from vitlens_core.losses.decoupled import Decoupled
from vitlens_core.losses.info_nce import info_nce
from vitlens_core.losses.sigmoid import Sigmoid

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
    assert info_nce(Pairs(a, b), scale).item() == pytest.approx(total / (2 * rows), abs=1e-9)


@given(seed=seeds, rows=sizes)
@quick
def test_order_of_pairs_and_of_sides_is_irrelevant(seed, rows):
    a, b = _pairs(seed, rows)
    labels = torch.arange(rows) % 3
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    for g, shuffled in ((None, None), (labels, labels[order])):
        loss = info_nce(Pairs(a, b, g), 10.0)
        torch.testing.assert_close(info_nce(Pairs(b, a, g), 10.0), loss)
        torch.testing.assert_close(info_nce(Pairs(a[order], b[order], shuffled), 10.0), loss)


@given(seed=seeds, rows=sizes)
@quick
def test_labels_of_one_row_each_are_the_pairs_alone(seed, rows):
    a, b = _pairs(seed, rows)
    names = torch.arange(rows) * 7 - 3
    torch.testing.assert_close(info_nce(Pairs(a, b, names), 10.0), info_nce(Pairs(a, b), 10.0))


def test_rows_of_one_label_share_the_blame():
    """Two rows of one label, embedded alike: nothing to tell apart but log 2."""
    a = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]), dim=-1)
    labels = torch.tensor([5, 5, 9])
    for ids in (labels, torch.tensor([5, 6, 9])):
        found = info_nce(Pairs(a, a, ids), 1000.0).item()
        assert found == pytest.approx(math.log(2) * 2 / 3, abs=1e-6)
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert info_nce(Pairs(apart, apart), 1000.0).item() == pytest.approx(0, abs=1e-6)
    assert info_nce(Pairs(apart, apart, labels), 1000.0).item() > 100


@pytest.mark.parametrize("rows", [2, 9])
def test_without_scale_nothing_is_told_apart(rows):
    a, b = _pairs(0, rows)
    assert info_nce(Pairs(a, b), 0.0).item() == pytest.approx(math.log(rows))


def test_descending_the_loss_aligns_the_pairs():
    a, b = (x.clone().requires_grad_() for x in _pairs(0, 8))
    optimizer = torch.optim.Adam([a, b], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        pairs = Pairs(F.normalize(a, dim=-1), F.normalize(b, dim=-1))
        info_nce(pairs, 20.0).backward()
        optimizer.step()
    nearest = (F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T).argmax(1)
    assert nearest.tolist() == list(range(8))


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((4,), (4,))])
def test_what_is_not_paired_is_refused(shapes):
    a, b = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(InputError, match=r"two \[B, E\]"):
        Pairs(a, b)


# --- what every loss promises ---------------------------------------------------------------

EVERY = [LOSSES.load(name)(kind=name) for name in LOSSES.names()]
every = pytest.mark.parametrize("loss", EVERY, ids=lambda loss: loss.kind)


def _value(loss: Loss, pairs: Pairs, scale: float = 5.0) -> float:
    parameters = {name: t.double() for name, t in loss.initial_parameters().items()}
    return loss(pairs, torch.tensor(math.log(scale), dtype=torch.float64), parameters).item()


@every
def test_the_order_of_rows_is_irrelevant_and_the_pairing_is_not(loss: Loss) -> None:
    a, b = _pairs(0, 7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    found = _value(loss, Pairs(a, b))
    assert _value(loss, Pairs(a[order], b[order])) == pytest.approx(found, abs=1e-9)
    assert _value(loss, Pairs(a, a)) < found < _value(loss, Pairs(a, -a))


@every
def test_further_negatives_cost_and_excluded_ones_nothing(loss: Loss) -> None:
    a, b = _pairs(0, 5)
    near = a[[2, 3]]
    alone = _value(loss, Pairs(a, b))
    none = torch.zeros(5, 2, dtype=torch.bool)
    assert _value(loss, Pairs(a, b, negatives=Negatives(near, none))) > alone
    excluded = _value(loss, Pairs(a, b, negatives=Negatives(near, ~none)))
    assert excluded == pytest.approx(alone, abs=1e-12)


@every
def test_everything_that_is_trained_gets_a_gradient(loss: Loss) -> None:
    a, b = _pairs(0, 5)
    a = a.requires_grad_()
    log_scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    own = {n: t.double().requires_grad_() for n, t in loss.initial_parameters().items()}
    found = loss(Pairs(a, b), log_scale, own)
    found.backward()
    assert found.shape == ()
    trained = [a, *own.values(), *([log_scale] if loss.takes_scale else [])]
    for tensor in trained:
        assert tensor.grad is not None
        assert tensor.grad.abs().max() > 0


# --- SigLIP's -------------------------------------------------------------------------------


@given(seed=seeds, rows=sizes, scale=st.floats(0.1, 100), bias=st.floats(-12, 2))
@quick
def test_the_sigmoid_loss_is_that_of_the_paper(
    seed: int, rows: int, scale: float, bias: float
) -> None:
    """Algorithm 1 of arXiv 2303.15343, pair by pair."""
    a, b = _pairs(seed, rows)
    total = 0.0
    for i in range(rows):
        for j in range(rows):
            sign = 1 if i == j else -1
            x = sign * (scale * (a[i] @ b[j]).item() + bias)
            total -= -math.log1p(math.exp(-x)) if x > -30 else x
    log_scale = torch.tensor(math.log(scale), dtype=torch.float64)
    found = Sigmoid()(Pairs(a, b), log_scale, {"bias": torch.tensor(bias).double()})
    assert found.item() == pytest.approx(total / rows, rel=1e-5)


def test_rows_of_one_label_belong_together() -> None:
    a, _ = _pairs(0, 2)
    alike = Pairs(a[[0, 0, 1]], a[[0, 0, 1]])
    labelled = Pairs(alike.embeddings, alike.targets, torch.tensor([4, 4, 6]))
    assert _value(Sigmoid(), labelled, 20.0) < _value(Sigmoid(), alike, 20.0) - 5


# --- decoupled positives ------------------------------------------------------------------------


def _decoupled(pairs: Pairs, scale: float) -> Tensor:
    return Decoupled()(pairs, torch.tensor(scale, dtype=torch.float64).log(), {})


@given(seed=seeds, rows=sizes, scale=st.floats(0.1, 100))
@quick
def test_with_one_positive_decoupled_is_info_nce(seed, rows, scale):
    a, b = _pairs(seed, rows)
    torch.testing.assert_close(_decoupled(Pairs(a, b), scale), info_nce(Pairs(a, b), scale))
    further = Negatives(_pairs(seed + 1, 5)[0], torch.rand(rows, 5) < 0.3)
    pairs = Pairs(a, b, negatives=further)
    torch.testing.assert_close(_decoupled(pairs, scale), info_nce(pairs, scale))


@given(seed=seeds, rows=sizes, labels=st.integers(1, 4))
@quick
def test_every_positive_is_held_against_the_negatives_alone(seed, rows, labels):
    a, b = _pairs(seed, rows)
    ids = torch.arange(rows) % labels
    logits = (5.0 * a @ b.T).tolist()
    total = 0.0
    for lines in (logits, [list(column) for column in zip(*logits, strict=True)]):
        for i, line in enumerate(lines):
            negatives = sum(math.exp(x) for j, x in enumerate(line) if ids[j] != ids[i])
            own = [x for j, x in enumerate(line) if ids[j] == ids[i]]
            total += sum(math.log1p(negatives / math.exp(x)) for x in own) / len(own)
    assert _decoupled(Pairs(a, b, ids), 5.0).item() == pytest.approx(total / (2 * rows), abs=1e-9)


def test_rows_of_one_label_alone_have_no_loss_and_a_finite_gradient():
    a = F.normalize(torch.eye(3, dtype=torch.float64), dim=-1).requires_grad_(True)
    loss = _decoupled(Pairs(a, a.detach(), torch.zeros(3)), 10.0)
    loss.backward()
    assert loss.item() == 0
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


def test_positives_do_not_compete():
    """Unlike in InfoNCE, a row that is near one of its positives does not pay for it."""
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    ids = torch.tensor([5, 5, 9])
    assert _decoupled(Pairs(a, a, ids), 1000.0).item() == pytest.approx(0, abs=1e-9)
    assert info_nce(Pairs(a, a, ids), 1000.0).item() > 0.4

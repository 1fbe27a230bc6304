"""Losses of samples that have several targets each, against plain sums over pairs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitlens_core.errors import InputError
from vitlens_core.losses.base import LOSSES, Loss, Negatives, Pairs, Several

EVERY = [LOSSES.load(name).model_validate({"positives": "all"}) for name in LOSSES.names()]
every = pytest.mark.parametrize("loss", EVERY, ids=lambda loss: loss.kind)
counts_of = st.lists(st.integers(1, 4), min_size=2, max_size=6)
quick = settings(deadline=None, max_examples=25)


def made(counts: list[int], seed: int) -> tuple[Tensor, Tensor, Several]:
    """Unit-norm embeddings [B, E] and targets [T, E] with uneven weights."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(counts) + sum(counts), 5, generator=generator, dtype=torch.float64)
    weights = torch.rand(sum(counts), generator=generator, dtype=torch.float64) + 0.1
    shares = torch.cat([part / part.sum() for part in weights.split(counts)])
    embeddings, targets = F.normalize(rows, dim=-1).split([len(counts), sum(counts)])
    return embeddings.clone(), targets.clone(), Several(tuple(counts), shares)


def _value(loss: Loss, pairs: Pairs, log_scale: Tensor) -> Tensor:
    parameters = {name: t.double() for name, t in loss.initial_parameters().items()}
    return loss(pairs, log_scale, parameters)


# --- the plain sums -------------------------------------------------------------------------

Product = Callable[[Tensor, Tensor], Tensor]
Sums = Callable[[Product, Pairs, list[int], int], Tensor]


def _lines(product: Product, pairs: Pairs, owner: list[int], own: int) -> list[tuple]:
    """Of one row: (weight, products with all of the other side, which of them are positives)."""
    assert pairs.several is not None
    labels = range(len(pairs.embeddings)) if pairs.label_ids is None else pairs.label_ids.tolist()
    weights = pairs.several.weights
    forward = [product(pairs.embeddings[own], t) for t in pairs.targets]
    positive = [labels[row] == labels[own] for row in owner]
    shares = [w if is_one else 0 * w for w, is_one in zip(weights, positive, strict=True)]
    lines: list[tuple] = [(0.5, forward, positive, [share / sum(shares) for share in shares])]
    for number, row in enumerate(owner):
        if row == own:
            back = [product(pairs.targets[number], e) for e in pairs.embeddings]
            of_label = [label == labels[own] for label in labels]
            even = [float(is_one) / sum(of_label) for is_one in of_label]
            lines.append((0.5 * weights[number], back, of_label, even))
    return lines


def _info_nce(product: Product, pairs: Pairs, owner: list[int], own: int) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for weight, products, _, shares in _lines(product, pairs, owner, own):
        among = torch.stack([p.exp() for p in products]).sum()
        for p, share in zip(products, shares, strict=True):
            total = total - weight * share * (p.exp() / among).log()
    return total


def _decoupled(product: Product, pairs: Pairs, owner: list[int], own: int) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for weight, products, positive, shares in _lines(product, pairs, owner, own):
        others = [p.exp() for p, is_one in zip(products, positive, strict=True) if not is_one]
        against = sum(others, torch.zeros((), dtype=torch.float64))
        for p, share in zip(products, shares, strict=True):
            total = total - weight * share * (p.exp() / (p.exp() + against)).log()
    return total


def _sigmoid(product: Product, pairs: Pairs, owner: list[int], own: int) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    assert pairs.several is not None
    (_, products, positive, _), *_ = _lines(product, pairs, owner, own)
    for p, is_one, weight in zip(products, positive, pairs.several.weights, strict=True):
        total = total - weight * F.logsigmoid((p - 10) * (1 if is_one else -1))
    return total


SUMS: dict[str, Sums] = {"info_nce": _info_nce, "decoupled": _decoupled, "sigmoid": _sigmoid}


@every
@given(counts=counts_of, seed=st.integers(0, 999), labels=st.integers(1, 7))
@quick
def test_value_and_gradients_are_those_of_plain_sums(
    loss: Loss, counts: list[int], seed: int, labels: int
) -> None:
    embeddings, targets, several = made(counts, seed)
    label_ids = None if labels == 7 else torch.arange(len(counts)) % labels
    embeddings.requires_grad_()
    targets.requires_grad_()
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    pairs = Pairs(embeddings, targets, label_ids, several=several)
    owner = [row for row, count in enumerate(counts) for _ in range(count)]
    rows = [
        SUMS[loss.kind](lambda a, b: scale.exp() * (a @ b), pairs, owner, own)
        for own in range(len(counts))
    ]
    expected = torch.stack(rows).mean()
    found = _value(loss, pairs, scale)
    leaves = [embeddings, targets, scale]
    assert abs(found - expected).item() < 1e-9
    slopes = (torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves))
    for one, other in zip(*slopes, strict=True):
        assert (one - other).abs().max().item() < 1e-9


@every
@given(rows=st.integers(2, 6), seed=st.integers(0, 999))
@quick
def test_with_one_target_each_it_is_the_loss_of_drawn_ones(loss: Loss, rows: int, seed: int):
    embeddings, targets, several = made([1] * rows, seed)
    scale = torch.tensor(1.5, dtype=torch.float64)
    found = _value(loss, Pairs(embeddings, targets, several=several), scale)
    assert abs(found - _value(loss, Pairs(embeddings, targets), scale)).item() < 1e-12


def test_the_sigmoid_loss_of_all_is_its_mean_over_the_draws_of_one() -> None:
    counts = [2, 1, 3]
    embeddings, targets, several = made(counts, 0)
    loss, scale = LOSSES.load("sigmoid").model_validate({}), torch.tensor(1.5).double()
    places = [several.of(slice(row, row + 1)) for row in range(3)]
    expected = 0.0
    for drawn in itertools.product(*(range(place.start, place.stop) for place in places)):
        chance = math.prod(several.weights[list(drawn)].tolist())
        expected += chance * _value(loss, Pairs(embeddings, targets[list(drawn)]), scale).item()
    found = _value(loss, Pairs(embeddings, targets, several=several), scale).item()
    assert found == pytest.approx(expected, abs=1e-9)


def test_positives_of_a_sample_compete_in_info_nce_alone() -> None:
    """A row that is near one of its two views pays for it, unless the views are decoupled."""
    embeddings = torch.eye(3, dtype=torch.float64)[:2]
    targets = torch.eye(3, dtype=torch.float64)[[0, 0, 1]]
    several = Several((2, 1), torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64))
    pairs, scale = Pairs(embeddings, targets, several=several), torch.tensor(4.0).double()
    by_kind = {loss.kind: _value(loss, pairs, scale).item() for loss in EVERY}
    assert by_kind["decoupled"] < 1e-9
    assert by_kind["info_nce"] == pytest.approx(math.log(2) / 4, abs=1e-6)


@every
def test_the_rows_asked_for_have_the_loss_that_they_have_among_all(loss: Loss) -> None:
    embeddings, targets, several = made([3, 1, 2, 4], 3)
    negatives = Negatives(targets[:2], torch.tensor([[True, False]] * 4))
    scale = torch.tensor(1.0, dtype=torch.float64)
    whole = Pairs(embeddings, targets, torch.tensor([0, 1, 0, 2]), negatives, several=several)
    parts = []
    for first, last in ((0, 1), (1, 4)):
        rows, excluded = slice(first, last), negatives.excluded[first:last]
        part = Pairs(
            embeddings, targets, whole.label_ids, Negatives(targets[:2], excluded), rows, several
        )
        parts.append((last - first) / 4 * _value(loss, part, scale).item())
    assert sum(parts) == pytest.approx(_value(loss, whole, scale).item(), abs=1e-12)


@pytest.mark.parametrize("counts", [(2, 1), (1, 1, 1), (2, 2, 0), (1, 1, 3)])
def test_counts_that_do_not_fit_are_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="1 target or more of each"):
        Pairs(torch.zeros(3, 5), torch.zeros(4, 5), several=Several(counts, torch.ones(4)))

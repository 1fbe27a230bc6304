"""A loss computed a few rows at a time: same value and gradients, never the whole matrix."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipelines.lens.chunked_loss import in_chunks
from vitlens_core.losses.base import LOSSES, Loss, Negatives, Pairs, Several

EVERY = [LOSSES.load(name)(kind=name) for name in LOSSES.names()]
every = pytest.mark.parametrize("loss", EVERY, ids=lambda loss: loss.kind)
seeds = st.integers(0, 2**31)
sizes = st.integers(2, 12)
quick = settings(deadline=None, max_examples=30)


def _pairs(seed: int, rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, rows, 6, generator=generator, dtype=torch.float64)
    return F.normalize(a, dim=-1), F.normalize(b, dim=-1)


def _several(rows: int) -> Several:
    """One to three targets of each row, of uneven weights."""
    counts = tuple(1 + row % 3 for row in range(rows))
    shares = [torch.arange(1.0, n + 1).double() / sum(range(n + 1)) for n in counts]
    return Several(counts, torch.cat(shares))


def _slopes(
    loss: Loss,
    seed: int,
    rows: int,
    *,
    labelled: bool,
    helped: bool,
    ragged: bool,
    most_logits: int,
) -> list[Tensor]:
    """The loss of all rows, and its gradients by embeddings, targets, scale and parameters."""
    several = _several(rows) if ragged else None
    a, b = (x.requires_grad_() for x in _pairs(seed, rows))
    if several:
        b = _pairs(seed, sum(several.counts))[1].requires_grad_()
    entries, _ = _pairs(seed + 1, 5)
    excluded = torch.rand(rows, 5, generator=torch.Generator().manual_seed(seed)) < 0.3
    labels = torch.arange(rows) % 3 if labelled else None
    negatives = Negatives(entries, excluded) if helped else None
    pairs = Pairs(a, b, labels, negatives, several=several)
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    initial = loss.initial_parameters().items()
    parameters = {name: t.double().requires_grad_() for name, t in initial}
    value = in_chunks(loss, pairs, scale, parameters, most_logits)
    leaves = [a, b, *([scale] if loss.takes_scale else []), *parameters.values()]
    return [value.detach(), *torch.autograd.grad(value, leaves)]


@every
@given(
    seed=seeds,
    rows=sizes,
    size=st.integers(1, 12),
    labelled=st.booleans(),
    helped=st.booleans(),
    ragged=st.booleans(),
)
@quick
def test_the_loss_in_parts_is_the_loss_and_so_are_its_gradients(
    loss: Loss, seed: int, rows: int, size: int, labelled: bool, helped: bool, ragged: bool
) -> None:
    columns = rows * (min(rows, 3) if ragged else 1) + 5 * helped
    given = {"labelled": labelled, "helped": helped, "ragged": ragged}
    whole = _slopes(loss, seed, rows, **given, most_logits=rows * columns)
    parts = _slopes(loss, seed, rows, **given, most_logits=size * columns)
    for found, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


class _Largest(TorchDispatchMode):
    """The most numbers of any tensor that an operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, list | tuple) else [made]:
            if isinstance(one, Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


@every
@pytest.mark.parametrize("ragged", [False, True])
def test_in_parts_no_matrix_of_all_pairs_is_ever_made(loss: Loss, ragged: bool) -> None:
    rows = 510
    columns = rows * (3 if ragged else 1) + 5
    given = {"labelled": True, "helped": True, "ragged": ragged}
    with _Largest() as largest:
        _slopes(loss, 0, rows, **given, most_logits=16 * columns)
    assert largest.numbers <= 16 * (columns + 1)  # `decoupled` has a column of its own
    with _Largest() as whole:
        _slopes(loss, 0, rows, **given, most_logits=rows * columns)
    assert whole.numbers >= rows * rows

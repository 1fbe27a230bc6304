"""A trunk of random weights: another for another seed, the same for the same one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.tiny_models import TinyFoundation, tiny_tower
from vitlens_core.models.tower import Tower


def _trunk(tower: Tower) -> dict[str, Tensor]:
    return dict(tower.trunk.named_parameters())


@pytest.fixture(scope="module")
def foundation() -> TinyFoundation:
    return TinyFoundation()


def test_only_the_projection_stays(foundation: TinyFoundation) -> None:
    own = _trunk(tiny_tower(foundation))
    drawn = _trunk(tiny_tower(foundation, trunk={"random": 3}))
    same = {name for name, tensor in own.items() if torch.equal(tensor, drawn[name])}
    assert same == {"readout.projection"}
    for name, tensor in drawn.items():
        if name.startswith("blocks.") and tensor.ndim == 2:
            assert tensor.std() == pytest.approx(0.02, rel=0.15)


def test_the_seed_decides_and_the_foundation_stays(foundation: TinyFoundation) -> None:
    before = foundation.digest()
    one, again, other = (
        _trunk(tiny_tower(foundation, seed=number, trunk={"random": seed}))
        for number, seed in enumerate((3, 3, 4))
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["cls_token"], other["cls_token"])
    assert foundation.digest() == before


def test_frozen_or_trained_whole(foundation: TinyFoundation) -> None:
    frozen = tiny_tower(foundation, trunk={"random": 0})
    assert not any(name.startswith("trunk.") for name in frozen.trained_state())
    everything = {"unlock_first": 99, "unlock_cls": True, "unlock_positions": True}
    whole = tiny_tower(foundation, trunk={"random": 0, "unlock_norm_pre": True, **everything})
    trained = {name for name, p in whole.trunk.named_parameters() if p.requires_grad}
    left = {name for name, _ in whole.trunk.named_parameters()} - trained
    assert all(name.startswith("readout.") for name in left)

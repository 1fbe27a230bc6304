"""How training varies clouds: each variation alone, against what it must leave as it is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitlens_core.row_generator import RowGenerator
from vitlens_core.signals.clouds import GREY, PointAugmentation, varied

STILL = {"scale": (1.0, 1.0), "shift": 0.0, "noise": 0.0, "grey": 0.0}


def _clouds(batch: int = 64, count: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    xyz = F.normalize(torch.randn(batch, count, 3, generator=generator), dim=-1)
    return xyz, torch.rand(batch, count, 3, generator=generator)


def _varied(**settings: object) -> tuple[Tensor, Tensor]:
    vary = PointAugmentation.model_validate(STILL | settings)
    xyz, rgb = _clouds()
    out = varied(xyz, rgb, vary, RowGenerator.of("1", range(len(xyz))))
    return out[..., :3], out[..., 3:]


def _distances(xyz: Tensor) -> Tensor:
    return torch.cdist(xyz, xyz)


def test_a_turn_leaves_heights_distances_and_colours() -> None:
    xyz, rgb = _clouds()
    found, colours = _varied()
    torch.testing.assert_close(found[..., 1], xyz[..., 1])
    torch.testing.assert_close(_distances(found), _distances(xyz), atol=1e-3, rtol=0)
    assert torch.equal(colours, rgb)
    assert not torch.allclose(found, xyz)


def test_an_isotropic_scale_is_one_factor_of_all_axes() -> None:
    xyz, _ = _clouds()
    found, _ = _varied(scale=(0.8, 1.25), isotropic=True)
    factors = found.norm(dim=-1) / xyz.norm(dim=-1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert factors.min() >= 0.8
    assert factors.max() <= 1.25
    assert factors[:, 0].std() > 0.05
    stretched, _ = _varied(scale=(0.8, 1.25))
    assert (stretched.norm(dim=-1) / xyz.norm(dim=-1)).std(dim=1).min() > 1e-3


def test_a_tilt_is_a_small_rotation() -> None:
    """Three axes of deviation .06, each cut at .18: at most .31 rad, .1 in the mean."""
    xyz, _ = _clouds()
    upright, _ = _varied()
    found, _ = _varied(tilt_rad=0.06)
    torch.testing.assert_close(_distances(found), _distances(xyz), atol=1e-3, rtol=0)
    cosine = (found * upright).sum(-1).clamp(-1, 1)
    angle = cosine.acos().amax(1)
    assert angle.max() < 0.18 * 3**0.5 + 1e-3
    assert 0.05 < angle.mean() < 0.15


def test_left_out_points_lie_on_the_first_that_stays_and_come_last() -> None:
    """The tokenizers take the first points as centres: they must be points that stay."""
    whole, _ = _varied()
    found, colours = _varied(dropout=0.875)
    shares = []
    for before, after in zip(whole, found, strict=True):
        copies = (after == after[0]).all(1)
        kept = len(after) - int(copies[1:].sum())
        shares.append(1 - kept / len(after))
        assert copies[kept:].all()
        # In their order, without repeats.
        places = torch.cdist(after[:kept], before).argmin(1)
        assert (places.diff() > 0).all()
    assert colours.shape == found.shape
    assert 0 <= min(shares) < 0.1
    assert 0.75 < max(shares) <= 0.95
    assert sum(shares) / len(shares) == pytest.approx(0.875 / 2, abs=0.1)


def test_a_share_of_clouds_loses_its_colour() -> None:
    _, colours = _varied(grey=0.5)
    grey = (colours == GREY).all(-1).all(-1)
    assert 0.3 < grey.float().mean() < 0.7


def test_factors_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="least factor first"):
        PointAugmentation(scale=(1.25, 0.8))

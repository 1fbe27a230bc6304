"""What a training step leaves out: of each row the same, wherever and whenever it is computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.tiny_models import TinyFoundation, clip_vit, tiny_tower
from vitlens_core.errors import ConfigError
from vitlens_core.models.dropping import Dropping, _uniform, drop_branches
from vitlens_core.models.wrapped_trunks import open_clip_trunk

SEEDS = torch.tensor([5, -7, 2**62, 0])


def test_draws_are_uniform_and_independent() -> None:
    """4 standard errors, of 2,000 × 64 draws; seeds and counts that follow each other."""
    drawn = _uniform(torch.arange(2000)[:, None], torch.arange(64))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=4 * 0.2887 / 128_000**0.5)
    assert drawn.var().item() == pytest.approx(1 / 12, abs=0.002)
    for one, other in ((drawn[:, 1:], drawn[:, :-1]), (drawn[1:], drawn[:-1])):
        together = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
        assert abs(together) < 4 / 126_000**0.5


def test_a_row_loses_the_same_in_any_batch() -> None:
    whole = Dropping(SEEDS, tokens=0.5, path=0.4)
    kept, paths = whole.kept_tokens(16), whole.paths(6)
    assert kept is not None
    assert paths is not None
    assert kept.shape == (4, 8)
    assert (kept.diff(dim=1) > 0).all()
    for row in range(4):
        alone = Dropping(SEEDS[row : row + 1], tokens=0.5, path=0.4)
        torch.testing.assert_close(alone.kept_tokens(16), kept[row : row + 1])
        torch.testing.assert_close(alone.paths(6), paths[:, :, row : row + 1])
    assert len(kept.unique(dim=0)) == 4
    clips = whole.repeated(3).kept_tokens(16)
    assert clips is not None
    assert len(clips.unique(dim=0)) == 12


def test_nothing_is_left_out_unless_it_is_asked_for() -> None:
    nothing = Dropping(SEEDS)
    assert nothing.kept_tokens(16) is None
    assert nothing.paths(6) is None


def test_paths_are_lost_more_often_the_deeper_a_block_lies() -> None:
    paths = Dropping(torch.arange(4000), path=0.4).paths(5)
    assert paths is not None
    lost = (paths == 0).float().mean(dim=(1, 2))
    torch.testing.assert_close(lost, torch.linspace(0, 0.4, 5), atol=0.03, rtol=0)
    # What stays is scaled, so that a branch is the same in the mean.
    torch.testing.assert_close(paths.mean(dim=(1, 2)), torch.ones(5), atol=0.04, rtol=0)


def test_a_trunk_without_its_branches_hands_its_tokens_on() -> None:
    """All branches of row 0 are left out, none of row 1."""
    trunk = open_clip_trunk(clip_vit())
    tokens = torch.randn(2, 16, 24)
    before = trunk(tokens)
    factors = torch.ones(3, 2, 2)
    factors[:, :, 0] = 0
    drop_branches(trunk.blocks, factors)
    x = torch.randn(2, 17, 24)
    for block in trunk.blocks:
        x, given = block(x), x
        torch.testing.assert_close(x[0], given[0])
        assert not torch.allclose(x[1], given[1])
    drop_branches(trunk.blocks, None)
    torch.testing.assert_close(trunk(tokens), before)


def test_blocks_without_known_branches_are_refused() -> None:
    with pytest.raises(ConfigError, match="drop_path=0"):
        drop_branches([nn.Linear(2, 2)], torch.ones(1, 2, 1))


@pytest.mark.parametrize("kind", ["perceiver", "identity"])
def test_a_tower_given_all_its_tokens_in_parts_sees_those_alone(kind: str) -> None:
    """A row that keeps K of its tokens is embedded as if it had those, at their positions."""
    settings: dict[str, Any] = {}
    if kind == "identity":
        settings = {"lens": {"kind": "identity"}, "tokenizer": _sixteen_groups()}
    tower = tiny_tower(TinyFoundation(), **settings).eval()
    clouds = torch.rand(4, 32, 6)
    dropping = Dropping(SEEDS, tokens=0.5)
    kept = dropping.kept_tokens(tower.trunk.input_tokens)
    assert kept is not None
    found = tower.embed(clouds, dropping)
    trunk = tower.trunk
    for row in range(4):
        tokens = tower.lens(tower.tokenizer(clouds[row : row + 1]))
        if kind == "perceiver":
            tokens = tower.lens(tower.tokenizer(clouds[row : row + 1]), kept[row : row + 1])
        else:
            tokens = tokens[:, kept[row]]
        assert trunk.cls_token is not None
        x = torch.cat([trunk.cls_token.view(1, 1, -1), tokens], 1)
        x = trunk.norm_pre(x + trunk.positions[torch.cat([torch.tensor([0]), kept[row] + 1])])
        for block in trunk.blocks:
            x = block(x)
        torch.testing.assert_close(found[row], tower.head(trunk.readout([x]))[0])
    assert not torch.allclose(found, tower.embed(clouds))


def _sixteen_groups() -> dict[str, int]:
    sizes = {"points_seen": 32, "groups": 16, "group_size": 5}
    return sizes | {"encoder_dim": 12, "width": 24}

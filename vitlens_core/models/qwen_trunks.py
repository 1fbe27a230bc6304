"""Vision towers of Qwen-VL as trunks: their own blocks and weights, wrapped.

| family     | positions                    | attention                             |
|------------|------------------------------|---------------------------------------|
| Qwen2-VL   | rotary                       | of all tokens                         |
| Qwen2.5-VL | rotary                       | within windows, in some blocks of all |
| Qwen3-VL   | rotary, and a learned table  | of all tokens                         |

They have no CLS token, their norm is in the merger, and they have no image embedding: that is the
mean of the normed tokens. Tokens are in the order in which the merger reads them, the patches of
one merged unit after each other; each block sees one square image or signal at a time.
transformers is not imported here.

Axes: B batch, T tokens, W width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from vitlens_core.errors import ConfigError
from vitlens_core.models.hf_trunks import Pooled, PooledEmbedding, VisionTower
from vitlens_core.models.trunk import Trunk

# Rotary positions need no table; 16 × 16 patches is the size that lenses are made for by default.
_ROTARY_SIDE = 16


def qwen_tower(visual: Any) -> VisionTower:
    """Take apart the vision tower of Qwen2-VL, Qwen2.5-VL or Qwen3-VL, told by what it has."""
    merge, config = visual.spatial_merge_size, visual.config
    # Qwen2-VL's `hidden_size` is that of its language model.
    width = getattr(config, "embed_dim", config.hidden_size)
    angles = _Angles(visual.rotary_pos_emb.inv_freq, merge)
    whole, side = set(range(len(visual.blocks))), 0
    if hasattr(visual, "fullatt_block_indexes"):
        whole = set(visual.fullatt_block_indexes)
        side = visual.window_size // merge // visual.patch_size
    blocks = [
        _Block(layer, angles, None if index in whole else side)
        for index, layer in enumerate(visual.blocks)
    ]
    places = nn.Identity()
    if hasattr(visual, "pos_embed"):
        places = _Places(visual.pos_embed.weight, merge)
    norm = visual.merger.norm if hasattr(visual.merger, "norm") else visual.merger.ln_q
    readout = PooledEmbedding(Pooled(norm, _Mean()), nn.Identity(), (width, width))
    trunk = Trunk(None, torch.zeros(_ROTARY_SIDE**2, width), places, blocks, readout)
    return VisionTower(_Patches(visual.patch_embed, merge), trunk, width, config.patch_size)


class _Mean(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1)


class _Patches(nn.Module):
    """The patch embedding: an image is a film of equal frames, cut as the merger reads."""

    def __init__(self, embed: Any, merge: int) -> None:
        super().__init__()
        self.embed = embed
        self.merge = merge

    def forward(self, pixels: Tensor) -> Tensor:
        batch, colours, height, width = pixels.shape
        side, merge = self.embed.patch_size, self.merge
        rows, columns = height // side, width // side
        cut = pixels.reshape(
            batch, colours, rows // merge, merge, side, columns // merge, merge, side
        )
        # [B, row block, column block, row, column, colour, y, x]: tokens to be merged follow
        # each other.
        cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)
        frames = cut.expand(*[-1] * 6, self.embed.temporal_patch_size, -1, -1)
        return self.embed(frames.reshape(batch * rows * columns, -1)).unflatten(0, (batch, -1))


def _merged(grid: Tensor, merge: int) -> Tensor:
    """Put the rows of a square grid [S, S, …] into the order of the merger: [S², …]."""
    side = len(grid) // merge
    blocks = grid.reshape(side, merge, side, merge, *grid.shape[2:])
    return blocks.transpose(1, 2).flatten(0, 3)


def _side(tokens: int, merge: int) -> int:
    """Return the side of a square image. Raises ConfigError if there is none."""
    side = math.isqrt(tokens)
    if side * side != tokens or side % merge:
        raise ConfigError(
            f"Qwen-VL: {tokens} tokens; expected a square of a side that is a multiple of "
            f"{merge}, one image or signal at a time"
        )
    return side


class _Places(nn.Module):
    """Adds a learned table, which is sampled linearly from corner to corner of a square image."""

    def __init__(self, table: Tensor, merge: int) -> None:
        super().__init__()
        self.table = nn.Parameter(table.detach().clone())  # [G², W]
        self.merge = merge

    def forward(self, x: Tensor) -> Tensor:
        size, side = math.isqrt(len(self.table)), _side(x.shape[1], self.merge)
        where = torch.linspace(0, size - 1, side, device=x.device)
        low = where.long()
        high = (low + 1).clamp(max=size - 1)
        share = (where - low).to(self.table.dtype)
        grid = self.table.unflatten(0, (size, size))
        rows = torch.lerp(grid[low], grid[high], share[:, None, None])
        found = torch.lerp(rows[:, low], rows[:, high], share[None, :, None])
        return x + _merged(found, self.merge)


class _Angles(nn.Module):
    """Rotary angles of the patches of a square image, in the order of the merger."""

    inv_freq: Tensor

    def __init__(self, inv_freq: Tensor, merge: int) -> None:
        super().__init__()
        # Not persistent, as in the published tower: computed from its widths.
        self.register_buffer("inv_freq", inv_freq, persistent=False)
        self.merge = merge

    def forward(self, side: int) -> Tensor:
        """Return the angles [side², d] of a grid."""
        where = torch.arange(side, device=self.inv_freq.device)
        places = torch.stack(torch.meshgrid(where, where, indexing="ij"), dim=-1)
        half = (_merged(places, self.merge).unsqueeze(-1) * self.inv_freq).flatten(1)
        return torch.cat([half, half], dim=-1)


class _Block(nn.Module):
    """A block of a Qwen tower, with the rotary positions of a square image.

    Attributes:
        window: side of the windows within which it attends, in merged units; None: none.
    """

    def __init__(self, layer: nn.Module, angles: _Angles, window: int | None) -> None:
        super().__init__()
        self.layer = layer
        self.angles = angles
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.shape[1]
        side = _side(tokens, self.angles.merge)
        angles = self.angles(side)
        if self.window is None:
            return self._attended(x, angles, torch.tensor([tokens]))
        order, lengths = windows(side // self.angles.merge, self.window, self.angles.merge**2)
        order = order.to(x.device)
        return self._attended(x[:, order], angles[order], lengths)[:, order.argsort()]

    def _attended(self, x: Tensor, angles: Tensor, lengths: Tensor) -> Tensor:
        """Attend within runs of some lengths, the same in every signal [B, T, W]."""
        batch = len(x)
        ends = lengths.repeat(batch).cumsum(0)
        ends = torch.cat([ends.new_zeros(1), ends]).to(x.device, torch.int32)
        angles = angles.repeat(batch, 1)
        placed = (angles.cos(), angles.sin())
        seen = self.layer(x.flatten(0, 1), cu_seqlens=ends, position_embeddings=placed)
        return seen.unflatten(0, (batch, -1))


def windows(side: int, window: int, unit: int) -> tuple[Tensor, Tensor]:
    """Sort the tokens of a square image by windows.

    Args:
        side, window: of the image and of a window, in merged units; the last windows of a row or
            column may be smaller.
        unit: tokens of a merged unit.

    Returns:
        The tokens' order [T], and the number of tokens of each window.
    """
    where = torch.arange(side) // window
    of_unit = (where[:, None] * len(where.unique()) + where[None, :]).flatten()
    units = of_unit.argsort(stable=True)
    order = (units[:, None] * unit + torch.arange(unit)).flatten()
    return order, of_unit.bincount() * unit

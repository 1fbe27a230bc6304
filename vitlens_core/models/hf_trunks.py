"""Vision towers of Hugging Face models as trunks: their own blocks and weights, wrapped.

| family                            | CLS | norms                  | embedding                     |
|-----------------------------------|-----|------------------------|-------------------------------|
| CLIP, LLaVA's CLIP, OWL-ViT, OWLv2| yes | before and after       | CLS, projected                |
| EVA in BLIP-2 and InstructBLIP    | yes | after                  | CLS, normed twice as published|
| SigLIP                            | no  | after                  | attention pooling             |
| Qwen2-VL                          | no  | in its merger, rotary  | mean of the normed tokens     |

transformers is not imported here: the modules come from the caller.

Axes: B batch, T tokens, W width, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitlens_core.errors import ConfigError
from vitlens_core.models.trunk import ProjectedReadout, Readout, Trunk

# Rotary positions need no table; 16 × 16 patches is the size that lenses are made for by default.
_ROTARY_SIDE = 16


@dataclass(frozen=True)
class VisionTower:
    """A vision tower taken apart: patch embedding and trunk.

    Attributes:
        patches: normalised pixels [B, 3, S, S] → patch tokens [B, T, W], without positions.
        embed_dim: E.
        patch_px: side of a patch; S is a multiple of it.
    """

    patches: nn.Module
    trunk: Trunk
    embed_dim: int
    patch_px: int


class _Patches(nn.Module):
    """A convolution whose results are tokens."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, pixels: Tensor) -> Tensor:
        return self.conv(pixels).flatten(2).transpose(1, 2)


class _Block(nn.Module):
    """A transformer layer of Hugging Face, whose arguments and results differ by model."""

    def __init__(self, layer: nn.Module, masks: int) -> None:
        super().__init__()
        self.layer = layer
        # No token of an image is hidden from another: every mask is None.
        self.masks = masks

    def forward(self, x: Tensor) -> Tensor:
        found = self.layer(x, *[None] * self.masks)
        return found[0] if isinstance(found, tuple) else found


class Pooled(Readout):
    """Pools the normed tokens of the last block: [B, P+T, W] → [B, W]."""

    taps = (-1,)

    def __init__(self, norm: nn.Module, pool: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.pool = pool

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        return self.pool(self.norm(hidden[0]))


class PooledEmbedding(ProjectedReadout):
    """Pools, then projects to [B, E]; without a projection E is W."""

    taps = (-1,)

    def __init__(self, pooled: Pooled, projection: nn.Module, sizes: tuple[int, int]) -> None:
        super().__init__()
        self.pooled = pooled
        self.projection = projection
        self._sizes = sizes

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        return self.projection(self.pooled(hidden))

    @property
    def unprojected(self) -> Pooled:
        return self.pooled

    @property
    def sizes(self) -> tuple[int, int]:
        return self._sizes


class _First(nn.Module):
    """The CLS token, perhaps normed once more."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = nn.Identity() if norm is None else norm

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens[:, 0])


class _Mean(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1)


def clip_tower(vision: Any, projection: nn.Linear | None) -> VisionTower:
    """Take apart the vision transformer of CLIP, OWL-ViT or OWLv2.

    Args:
        projection: to the space it shares with text; None if the model has none (LLaVA).
    """
    embeddings = vision.embeddings
    # CLIP misspells the name of its norm; OWL does not.
    norm_pre = vision.pre_layrnorm if hasattr(vision, "pre_layrnorm") else vision.pre_layernorm
    width = embeddings.class_embedding.numel()
    embed_dim = width if projection is None else projection.out_features
    readout = PooledEmbedding(
        Pooled(vision.post_layernorm, _First()),
        nn.Identity() if projection is None else projection,
        (width, embed_dim),
    )
    trunk = Trunk(
        embeddings.class_embedding.reshape(-1),
        embeddings.position_embedding.weight,
        norm_pre,
        [_Block(layer, masks=2) for layer in vision.encoder.layers],
        readout,
        embeddings.patch_embedding.weight,
    )
    patch_px = vision.config.patch_size
    return VisionTower(_Patches(embeddings.patch_embedding), trunk, embed_dim, patch_px)


def eva_tower(vision: Any) -> VisionTower:
    """Take apart EVA as BLIP-2 and InstructBLIP hold it; its embedding is their pooled output."""
    embeddings, width = vision.embeddings, vision.config.hidden_size
    # Published code norms the CLS token twice on the way to its pooled output.
    pooled = Pooled(vision.post_layernorm, _First(vision.post_layernorm))
    trunk = Trunk(
        embeddings.class_embedding.reshape(-1),
        embeddings.position_embedding[0],
        nn.Identity(),
        [_Block(layer, masks=1) for layer in vision.encoder.layers],
        PooledEmbedding(pooled, nn.Identity(), (width, width)),
        embeddings.patch_embedding.weight,
    )
    patch_px = vision.config.patch_size
    return VisionTower(_Patches(embeddings.patch_embedding), trunk, width, patch_px)


def siglip_tower(vision: Any) -> VisionTower:
    """Take apart SigLIP's vision transformer, which has no CLS token.

    Raises:
        ConfigError: it has no pooling head, hence no embedding.
    """
    if not vision.use_head:
        raise ConfigError("this SigLIP vision tower has no pooling head; choose one that has")
    embeddings, width = vision.embeddings, vision.config.hidden_size
    trunk = Trunk(
        None,
        embeddings.position_embedding.weight,
        nn.Identity(),
        [_Block(layer, masks=1) for layer in vision.encoder.layers],
        PooledEmbedding(Pooled(vision.post_layernorm, vision.head), nn.Identity(), (width, width)),
        embeddings.patch_embedding.weight,
    )
    patch_px = vision.config.patch_size
    return VisionTower(_Patches(embeddings.patch_embedding), trunk, width, patch_px)


class _QwenPatches(nn.Module):
    """Qwen2-VL's patch embedding: an image is a film of equal frames, cut as its merger reads."""

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


class _QwenAngles(nn.Module):
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
        rows, columns = torch.meshgrid(where, where, indexing="ij")
        blocks = (side // self.merge, self.merge, side // self.merge, self.merge)
        grid = torch.stack([rows, columns]).reshape(2, *blocks).transpose(2, 3).reshape(2, -1)
        half = (grid.unsqueeze(-1) * self.inv_freq).movedim(0, 1).flatten(1)
        return torch.cat([half, half], dim=-1)


class _QwenBlock(nn.Module):
    """A block of Qwen2-VL's vision tower, with the rotary positions of a square image."""

    def __init__(self, layer: nn.Module, angles: _QwenAngles) -> None:
        super().__init__()
        self.layer = layer
        self.angles = angles

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        side = math.isqrt(tokens)
        if side * side != tokens or side % self.angles.merge:
            raise ConfigError(
                f"Qwen2-VL: {tokens} tokens; expected a square of a side that is a multiple of "
                f"{self.angles.merge}, one image or signal at a time"
            )
        angles = self.angles(side).repeat(batch, 1)
        ends = torch.arange(0, (batch + 1) * tokens, tokens, dtype=torch.int32, device=x.device)
        placed = (angles.cos(), angles.sin())
        seen = self.layer(x.flatten(0, 1), cu_seqlens=ends, position_embeddings=placed)
        return seen.unflatten(0, (batch, tokens))


def qwen_tower(visual: Any) -> VisionTower:
    """Take apart Qwen2-VL's vision tower. It has no image embedding; that is its tokens' mean."""
    width, merge = visual.config.embed_dim, visual.spatial_merge_size
    angles = _QwenAngles(visual.rotary_pos_emb.inv_freq, merge)
    readout = PooledEmbedding(Pooled(visual.merger.ln_q, _Mean()), nn.Identity(), (width, width))
    trunk = Trunk(
        None,
        torch.zeros(_ROTARY_SIDE**2, width),
        nn.Identity(),
        [_QwenBlock(block, angles) for block in visual.blocks],
        readout,
    )
    patches = _QwenPatches(visual.patch_embed, merge)
    return VisionTower(patches, trunk, width, visual.config.patch_size)

"""Vision towers of Hugging Face models as trunks: their own blocks and weights, wrapped.

| family                            | CLS | norms                  | embedding                     |
|-----------------------------------|-----|------------------------|-------------------------------|
| CLIP, LLaVA's CLIP, OWL-ViT, OWLv2| yes | before and after       | CLS, projected                |
| EVA in BLIP-2 and InstructBLIP    | yes | after                  | CLS, normed twice as published|
| SigLIP                            | no  | after                  | attention pooling             |

Qwen's towers are in `qwen_trunks`. transformers is not imported here: the modules come from the
caller.

Axes: B batch, T tokens, W width, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vitlens_core.errors import ConfigError
from vitlens_core.models.trunk import ProjectedReadout, Readout, Trunk


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

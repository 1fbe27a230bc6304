"""The trunk: a pretrained, frozen ViT from its input tokens to an embedding.

An image reaches the trunk as patch tokens, a new modality as lens tokens. From there both take
the same path: CLS is prepended, the positional table added, then pre-norm, blocks and readout.
The vision transformers of open_clip and timm are wrapped, not written anew, so that their weights
and their fused attention are used unchanged.

Axes: B batch, T tokens, P tokens before them (CLS), W width, E embedding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import ConfigError


class Readout(nn.Module, ABC):
    """Turns the outputs of some blocks into an embedding.

    Attributes:
        taps: the blocks it reads, as negative indices, which stay right when blocks are dropped.
    """

    taps: tuple[int, ...]

    @property
    @abstractmethod
    def final_norm(self) -> nn.Module:
        """The norm of a block's output [B, P+T, W] before it is pooled."""


class ProjectedReadout(Readout):
    """A readout that ends in the foundation's projection, which a trained head can replace."""

    @property
    @abstractmethod
    def unprojected(self) -> Readout:
        """The readout of the features before the projection."""

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """Widths of the features and of the embedding."""


class ClsFeatures(Readout):
    """Layer norm of the last block's CLS token.

    `forward` takes the blocks' outputs, a list of [B, 1+T, W], and returns [B, W].
    """

    taps = (-1,)

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        return self.norm(hidden[0][:, 0])

    @property
    def final_norm(self) -> nn.Module:
        return self.norm


class ClsReadout(ClsFeatures, ProjectedReadout):
    """CLIP's readout: the features of the CLS token, projected to [B, E]."""

    def __init__(self, norm: nn.Module, projection: nn.Parameter) -> None:
        super().__init__(norm)
        self.projection = projection

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        return super().forward(hidden) @ self.projection

    @property
    def unprojected(self) -> ClsFeatures:
        return ClsFeatures(self.norm)

    @property
    def sizes(self) -> tuple[int, int]:
        width, embed_dim = self.projection.shape
        return width, embed_dim


class TapFeatures(Readout):
    """Features of a self-supervised ViT: CLS and mean patch token of the last `taps` blocks.

    `forward` returns [B, 2·taps·W], the input of DINOv2's linear probes (arXiv 2304.07193, B.3).
    """

    def __init__(self, norm: nn.Module, taps: int = 2) -> None:
        super().__init__()
        self.norm = norm
        self.taps = tuple(range(-taps, 0))

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        normed = [self.norm(h) for h in hidden]
        return torch.cat([part for h in normed for part in (h[:, 0], h[:, 1:].mean(1))], dim=-1)

    @property
    def final_norm(self) -> nn.Module:
        return self.norm


class Trunk(nn.Module):
    """ViT blocks with their CLS token, positional table and readout.

    P is 1 with a CLS token, and 0 without one.

    Args:
        cls_token: [W]; None for a ViT that has none (SigLIP).
        positions: [P+G², W], the CLS position first.
        norm_pre: applied after the positions are added.
        blocks: the transformer blocks, each mapping [B, P+T, W] to the same shape.
        readout: maps the outputs of the blocks it taps to [B, E].
        patch_kernel: kernel of the ViT's own patch embedding [W, 3, P, P], from which tokenizers
            of pictures can start; it is not one of the trunk's weights.
    """

    def __init__(
        self,
        cls_token: Tensor | None,
        positions: Tensor,
        norm_pre: nn.Module,
        blocks: Iterable[nn.Module],
        readout: Readout,
        patch_kernel: Tensor | None = None,
    ) -> None:
        super().__init__()
        # A plain attribute, so that it is in no state dictionary, digest or checkpoint.
        self.patch_kernel = None if patch_kernel is None else patch_kernel.detach()
        # Copies: a trunk derived from this one may train its own.
        self.cls_token = None if cls_token is None else nn.Parameter(cls_token.detach().clone())
        self.positions = nn.Parameter(positions.detach().clone())
        self.norm_pre = norm_pre
        self.blocks = nn.ModuleList(blocks)
        self.readout: Readout = readout

    @property
    def width(self) -> int:
        return self.positions.shape[1]

    @property
    def prefix(self) -> int:
        """P, the number of tokens before those of the input."""
        return 0 if self.cls_token is None else 1

    @property
    def grid_tokens(self) -> int:
        """G², the tokens of an image of the table's own size."""
        return len(self.positions) - self.prefix

    def without_blocks(self, first: int = 0, last: int = 0) -> Trunk:
        """Return the trunk without its first and last blocks (ViT-Lens-G skips 16 of 48)."""
        remaining = list(self.blocks)[first : len(self.blocks) - last]
        needed = len(self.readout.taps)
        if first < 0 or last < 0 or len(remaining) < needed:
            raise ConfigError(
                f"cannot drop {first} first and {last} last blocks of a trunk of "
                f"{len(self.blocks)}: at least {needed} must stay for its readout"
            )
        return self._with(blocks=remaining)

    def resized(self, tokens: int) -> Trunk:
        """Return the trunk with its positional table resampled for `tokens`, a square number."""
        return self._with(positions=self._positions_of(tokens))

    def with_readout(self, readout: Readout) -> Trunk:
        """Return the trunk with another readout."""
        return self._with(readout=readout)

    def _with(
        self,
        *,
        positions: Tensor | None = None,
        blocks: Iterable[nn.Module] | None = None,
        readout: Readout | None = None,
    ) -> Trunk:
        return Trunk(
            self.cls_token,
            self.positions if positions is None else positions,
            self.norm_pre,
            self.blocks if blocks is None else blocks,
            self.readout if readout is None else readout,
            self.patch_kernel,
        )

    def _positions_of(self, tokens: int) -> Tensor:
        """Return the table [P+T, W], resampled if the trunk's own has another number of rows."""
        if tokens == self.grid_tokens:
            return self.positions
        before, patches = self.positions.split([self.prefix, self.grid_tokens])
        return torch.cat([before, resample_positions(patches, tokens)])

    def states(self, groups: Sequence[Tensor], taps: Sequence[int] = (-1,)) -> list[Tensor]:
        """Return the outputs [B, P+T, W] of the blocks at `taps`, neither normed nor pooled.

        Args:
            groups: tokens [B, T, W] that the blocks see together, each with the positions of an
                image of its own; T is the sum of their numbers, each of which is a square.
            taps: negative indices; -1 is the last block.

        Raises:
            ConfigError: a block does not exist, or a number of tokens is not a square.
        """
        if wrong := [tap for tap in taps if not -len(self.blocks) <= tap < 0]:
            raise ConfigError(
                f"block {wrong[0]} does not exist: expected -1 (the last) to -{len(self.blocks)}"
            )
        placed = []
        for tokens in groups:
            table = self._positions_of(tokens.shape[1])
            if self.cls_token is not None and not placed:
                cls = self.cls_token.expand(tokens.shape[0], 1, -1)
                placed.append(torch.cat([cls, tokens], dim=1) + table)
            else:
                placed.append(tokens + table[self.prefix :])
        x = self.norm_pre(torch.cat(placed, dim=1))
        outputs = {}
        for index, block in enumerate(self.blocks, start=-len(self.blocks)):
            x = block(x)
            if index in taps:
                outputs[index] = x
        return [outputs[tap] for tap in taps]

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens [B, T, W]: [B, E], not normalised. T must be a square number."""
        return self.readout(self.states([tokens], self.readout.taps))


def resample_positions(table: Tensor, tokens: int) -> Tensor:
    """Resample a square positional table [G², W] bicubically to [tokens, W]."""
    old, new = math.isqrt(table.shape[0]), math.isqrt(tokens)
    if new * new != tokens or old * old != table.shape[0]:
        raise ConfigError(
            f"the trunk's positions form a {old}×{old} grid; {tokens} tokens are not a square. "
            f"Choose {new * new} or {(new + 1) ** 2} latents"
        )
    # A positional table is a picture of W channels.
    grid = table.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grid, size=(new, new), mode="bicubic", antialias=True)
    return resized.flatten(2)[0].T


def open_clip_trunk(visual: nn.Module) -> Trunk:
    """Wrap an open_clip vision tower that is CLIP's own ViT.

    Raises:
        ConfigError: it is a ResNet, a timm tower, or not read out at its CLS token.
    """
    # Imported here: open_clip takes seconds, and a `lit` foundation does not need it.
    from open_clip.transformer import VisionTransformer

    is_clip_vit = isinstance(visual, VisionTransformer) and visual.proj is not None
    if not is_clip_vit or visual.attn_pool is not None or visual.pool_type != "tok":
        raise ConfigError(
            f"this open_clip vision tower ({type(visual).__name__}) is not a CLIP ViT read out at "
            "its CLS token; use a model such as ViT-B-16, ViT-L-14 or ViT-bigG-14"
        )
    return Trunk(
        visual.class_embedding,
        visual.positional_embedding,
        visual.ln_pre,
        visual.transformer.resblocks,
        ClsReadout(visual.ln_post, visual.proj),
        visual.conv1.weight,
    )


def timm_trunk(vit: Any, readout: Readout) -> Trunk:
    """Wrap a timm `VisionTransformer` with a CLS token and a learned positional table.

    Raises:
        ConfigError: it has no such token or table, or further tokens (registers).
    """
    has_table = getattr(vit, "pos_embed", None) is not None and not vit.no_embed_class
    if not has_table or getattr(vit, "num_prefix_tokens", 0) != 1:
        raise ConfigError(
            f"timm model {type(vit).__name__} has no single CLS token with a positional table; "
            "use a vit_* model without registers (CLIP, DINO, DINOv2, DeiT, AugReg)"
        )
    return Trunk(
        vit.cls_token.reshape(-1),
        vit.pos_embed[0],
        vit.norm_pre,
        vit.blocks,
        readout,
        vit.patch_embed.proj.weight,
    )

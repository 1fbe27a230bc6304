"""The trunk: a pretrained, frozen ViT from its input tokens to an embedding.

An image reaches the trunk as patch tokens, a new modality as lens tokens. From there both take
the same path: CLS is prepended, the positional table added, then pre-norm, blocks and readout.
The vision transformers of open_clip and timm are wrapped, not written anew (`wrapped_trunks`), so
that their weights and their fused attention are used unchanged.

Axes: B batch, T tokens, P tokens before them (CLS), W width, E embedding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import ConfigError
from vitlens_core.models.dropping import Dropping, drop_branches


class Readout(nn.Module):
    """Turns the outputs of some blocks into an embedding.

    Attributes:
        taps: the blocks it reads, as negative indices, which stay right when blocks are dropped.
    """

    taps: tuple[int, ...]

    @property
    def final_norm(self) -> nn.Module:
        """The norm of a block's output before it is pooled."""
        return self.get_submodule("norm")

    def norms(self) -> list[nn.Module]:
        """Return the norms after the blocks."""
        return [module for module in self.modules() if isinstance(module, nn.LayerNorm)]


class ProjectedReadout(Readout, ABC):
    """A readout that ends in the foundation's projection, which a trained head can replace."""

    @property
    def final_norm(self) -> nn.Module:
        return self.unprojected.final_norm

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


class Trunk(nn.Module):
    """ViT blocks with their CLS token, positional table and readout.

    Args:
        cls_token: [W]; None for a ViT without one (SigLIP).
        positions: [1+G², W], the CLS position first, or [G², W] without a CLS token.
        norm_pre: applied after the positions are added.
        blocks: the transformer blocks, each mapping [B, 1+T, W] to the same shape.
        readout: maps the outputs of the blocks it taps to [B, E].
        patch_kernel: kernel of the ViT's own patch embedding [W, 3, P, P], from which tokenizers
            of pictures can start; it is not one of the trunk's weights.
        rotary: timm's rotary embedding, which the blocks are given beside the tokens (EVA-02).
    """

    def __init__(
        self,
        cls_token: Tensor | None,
        positions: Tensor,
        norm_pre: nn.Module,
        blocks: Iterable[nn.Module],
        readout: Readout,
        patch_kernel: Tensor | None = None,
        rotary: Any = None,
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
        self.rotary = rotary

    @property
    def width(self) -> int:
        return self.positions.shape[1]

    @property
    def input_tokens(self) -> int:
        """Number of tokens that the positional table is made for, without CLS."""
        return len(self.positions) - self._before

    @property
    def _before(self) -> int:
        """Number of positions before those of the tokens."""
        return 0 if self.cls_token is None else 1

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
        cls, patches = self.positions.tensor_split([self._before])
        return self._with(positions=torch.cat([cls, resample_positions(patches, tokens)]))

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
            self.rotary,
        )

    def forward(
        self,
        tokens: Tensor,
        kept: Tensor | None = None,
        total: int | None = None,
        dropping: Dropping | None = None,
    ) -> Tensor:
        """Embed tokens [B, T, W]: [B, E], not normalised. T must be a square number.

        Args:
            tokens: of an image or a signal.
            kept: indices [B, K] of the tokens that are given, if they are not all: T is K then.
            total: number of all tokens, a square number; by default that of the table.
            dropping: branches of the blocks that a training step leaves out.
        """
        return self.readout(self._hidden(tokens, kept, total, dropping))

    def with_tokens(
        self, tokens: Tensor, dropping: Dropping | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embed all tokens [B, T, W] of a signal, and give those at the readout beside it.

        Returns:
            [B, E], not normalised, and [B, P+T, W] after the last block and its norm.
        """
        hidden = self._hidden(tokens, None, None, dropping)
        last = hidden[self.readout.taps.index(-1)]
        return self.readout(hidden), self.readout.final_norm(last)

    def _hidden(
        self, tokens: Tensor, kept: Tensor | None, total: int | None, dropping: Dropping | None
    ) -> list[Tensor]:
        """Return what the readout takes of tokens; arguments as `forward`."""
        x = tokens
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(tokens.shape[0], 1, -1), x], dim=1)
        whole = tokens.shape[1] if kept is None else total or self.input_tokens
        x = self.norm_pre(x + self._positions_of(whole, kept))
        beside = {} if self.rotary is None else {"rope": self._rotation_of(whole, kept)}
        drop_branches(self.blocks, dropping.paths(len(self.blocks)) if dropping else None)
        return self._through(x, beside, self.readout.taps)

    def states(self, groups: Sequence[Tensor], taps: Sequence[int] = (-1,)) -> list[Tensor]:
        """Return the outputs [B, P+T, W] of the blocks at `taps`, neither normed nor pooled.

        P is 1 with a CLS token, and 0 without one.

        Args:
            groups: tokens [B, T, W] that the blocks see together, each with the positions of an
                image of its own; T is the sum of their numbers, each of which is a square.
            taps: negative indices; -1 is the last block.

        Raises:
            ConfigError: a block does not exist, a number of tokens is not a square, or rotary
                positions would be those of several images.
        """
        if wrong := [tap for tap in taps if not -len(self.blocks) <= tap < 0]:
            raise ConfigError(
                f"block {wrong[0]} does not exist: expected -1 (the last) to -{len(self.blocks)}"
            )
        if self.rotary is not None and len(groups) > 1:
            raise ConfigError("a trunk with rotary positions sees one image or signal at a time")
        placed = []
        for tokens in groups:
            positions = self._positions_of(tokens.shape[1], None)
            if self.cls_token is not None and not placed:
                cls = self.cls_token.expand(tokens.shape[0], 1, -1)
                placed.append(torch.cat([cls, tokens], dim=1) + positions)
            else:
                placed.append(tokens + positions[:, self._before :])
        whole = groups[0].shape[1]
        beside = {} if self.rotary is None else {"rope": self._rotation_of(whole, None)}
        drop_branches(self.blocks, None)
        return self._through(self.norm_pre(torch.cat(placed, dim=1)), beside, taps)

    def _through(self, x: Tensor, beside: Mapping[str, Any], taps: Sequence[int]) -> list[Tensor]:
        """Return the outputs of the blocks at `taps`, in their order."""
        outputs = {}
        for index, block in enumerate(self.blocks, start=-len(self.blocks)):
            x = block(x, **beside)
            if index in taps:
                outputs[index] = x
        return [outputs[tap] for tap in taps]

    def _positions_of(self, total: int, kept: Tensor | None) -> Tensor:
        """Return the positions of CLS and of all tokens or the kept ones [B or 1, 1+T, W]."""
        cls, patches = self.positions.tensor_split([self._before])
        # Images of another size than the table's: it is resampled for this call.
        if total != len(patches):
            patches = resample_positions(patches, total)
        if kept is not None:
            return torch.cat([cls.expand(len(kept), -1, -1), patches[kept]], dim=1)
        return torch.cat([cls, patches])[None]

    def _rotation_of(self, total: int, kept: Tensor | None) -> Tensor:
        """Return the rotary embedding of all tokens [T, R], or of the kept ones [B, 1, K, R]."""
        side = math.isqrt(total)
        rotation = self.rotary.get_embed(shape=(side, side))
        return rotation if kept is None else rotation[kept][:, None]


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

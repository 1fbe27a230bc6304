"""Lenses: a modality's tokens in, the frozen ViT's input tokens out.

`PerceiverLens` reads any number of tokens [B, T, C] and returns a fixed number of latents
[B, L, D]; `IdentityLens` returns its tokens unchanged. Parameter names are the published ones
(latents, layers.i.{0,1,2}…), so that published lenses load strictly.

Axes: B batch, T tokens, C token width, L latents, D width of the ViT.
Source: ViT-Lens (arXiv 2311.16081) §3.2; the iterative attention of Perceiver
(arXiv 2103.03206) §3.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import ConfigError
from vitlens_core.models.attention import LatentAttention
from vitlens_core.models.parameters import normal_parameter
from vitlens_core.network_settings import LensSettings

FEEDFORWARD_RATIO = 4


class GatedGelu(nn.Module):
    """GEGLU: one half of the features gates the other. [..., 2H] → [..., H]."""

    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)


class GatedFeedForward(nn.Module):
    """Linear, GEGLU, linear, with a hidden width of 4 D. [B, L, D] → [B, L, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = FEEDFORWARD_RATIO * width
        self.net = nn.Sequential(
            nn.Linear(width, 2 * hidden), GatedGelu(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class CrossAttend(nn.Module):
    """Pre-norm cross-attention with its residual: the latents read the context."""

    def __init__(self, width: int, context_width: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.fn = LatentAttention(width, context_width, heads, dim_head)
        self.norm = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(context_width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return x + self.fn(self.norm(x), self.norm_context(context))


class SelfAttend(nn.Module):
    """Pre-norm self-attention among the latents, with its residual."""

    def __init__(self, width: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.fn = LatentAttention(width, width, heads, dim_head)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        return x + self.fn(normed, normed)


class FeedForward(nn.Module):
    """Pre-norm GEGLU feed-forward with its residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fn = GatedFeedForward(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(self.norm(x))


class LensLayer(nn.ModuleList):
    """Cross-attention and feed-forward, then k × (self-attention, feed-forward)."""

    def __init__(
        self, cross_attend: CrossAttend, width: int, heads: int, dim_head: int, self_per_cross: int
    ) -> None:
        latent_blocks = [
            nn.Sequential(SelfAttend(width, heads, dim_head), FeedForward(width))
            for _ in range(self_per_cross)
        ]
        super().__init__([cross_attend, FeedForward(width), nn.Sequential(*latent_blocks)])

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """latents [B, L, D], tokens [B, T, C] → [B, L, D]."""
        cross_attend, feed_forward, latent_blocks = self
        return latent_blocks(feed_forward(cross_attend(latents, tokens)))


class PerceiverLens(nn.Module):
    """Depth × [cross-attention, feed-forward, then k × (self-attention, feed-forward)].

    Args:
        width: D of the latents, which is the width of the ViT they feed.
        context_width: C of the incoming tokens.
        num_latents: L; as many as the ViT's positional table has patches (256 = 16² for a /14 ViT
            at 224).
        depth: number of layers.
        self_per_cross: k, the self-attention blocks after each cross-attention.
        tie_weights: layers 1..depth−1 share one set of weights; layer 0 stays distinct. The
            state dictionary still names every layer; `named_parameters` names each tensor once.

    Raises:
        ConfigError: `depth` or `num_latents` is below 1, or `self_per_cross` below 0.
    """

    def __init__(
        self,
        width: int,
        context_width: int,
        *,
        num_latents: int,
        depth: int,
        latent_heads: int,
        latent_dim_head: int,
        cross_heads: int = 1,
        cross_dim_head: int = 64,
        self_per_cross: int = 1,
        tie_weights: bool = False,
    ) -> None:
        super().__init__()
        if depth < 1 or num_latents < 1 or self_per_cross < 0:
            raise ConfigError(
                f"a Perceiver lens needs depth ≥ 1, num_latents ≥ 1 and self_per_cross ≥ 0; "
                f"found {depth}, {num_latents} and {self_per_cross}"
            )
        # Drawn apart: latents that start equal get equal updates and stay equal.
        self.latents = normal_parameter(num_latents, width, std=1.0)

        def build_layer() -> LensLayer:
            cross_attend = CrossAttend(width, context_width, cross_heads, cross_dim_head)
            return LensLayer(cross_attend, width, latent_heads, latent_dim_head, self_per_cross)

        # The same module several times, not copies of it: its tensors are shared.
        layers = [build_layer() for _ in range(min(depth, 2) if tie_weights else depth)]
        self.layers = nn.ModuleList(layers + [layers[-1]] * (depth - len(layers)))

    def forward(self, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """[B, T, C] → [B, L, D], or [B, K, D] if K latents of each row are `kept` (indices)."""
        if kept is None:
            latents = self.latents.expand(tokens.shape[0], -1, -1)
        else:
            latents = self.latents[kept]
        for layer in self.layers:
            latents = layer(latents, tokens)
        return latents


class IdentityLens(nn.Module):
    """Returns its tokens: the tokenizer yields the ViT's grid already (depth, thermal, tactile)."""

    def forward(self, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """[B, T, D] → [B, T, D], or [B, K, D] if K tokens of each row are `kept` (indices)."""
        if kept is None:
            return tokens
        return tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1]))


def build_lens(settings: LensSettings, trunk_width: int, token_width: int) -> nn.Module:
    """Build the lens from tokens to the trunk's width.

    Raises:
        ConfigError: the tokens of an identity lens do not have the trunk's width.
    """
    if settings.kind == "identity":
        if token_width != trunk_width:
            raise ConfigError(
                f"an identity lens hands tokens of width {token_width} to a trunk of width "
                f"{trunk_width}; set the tokenizer's width to {trunk_width}"
            )
        return IdentityLens()
    return PerceiverLens(
        trunk_width,
        token_width,
        num_latents=settings.latents,
        depth=settings.depth,
        latent_heads=settings.latent_heads,
        latent_dim_head=settings.latent_dim_head,
        cross_heads=settings.cross_heads,
        cross_dim_head=settings.cross_dim_head,
        self_per_cross=settings.self_per_cross,
        tie_weights=settings.tie_weights,
    )

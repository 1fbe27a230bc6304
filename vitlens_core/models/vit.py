"""The CLIP vision transformer under its published names, fed by patches or by a lens.

    ClipVit    tokens [B, T, D] to an embedding [B, E]; the base of both towers below
    ImageVit   pixels to patches by a convolution (image, tactile)
    LensVit    a modality to tokens (visual_adapter), tokens to latents (perceiver)

Embeddings are not normalised. Axes: B batch, T tokens, D width, E embedding.
Source: CLIP (arXiv 2103.00020); ViT-Lens (arXiv 2311.16081) §3.2.
"""

import torch
from torch import Tensor, nn

from vitlens_core.models.attention import SelfAttention
from vitlens_core.models.parameters import normal_parameter
from vitlens_core.models.reference_config import VitSizes
from vitlens_core.models.tokenizers.patches import check_shape


class ResidualBlock(nn.Module):
    """Pre-norm attention and GELU feed-forward, each with its residual. [B, T, D] → same.

    Args:
        mlp_ratio: hidden width of the feed-forward as a multiple of D.
        causal: a token sees itself and the tokens before it only (text).
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: float = 4.0, *, causal: bool = False
    ) -> None:
        super().__init__()
        # All names here are those of CLIP's published weights, which load strictly.
        hidden = int(width * mlp_ratio)
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads, causal=causal)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, hidden))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of residual blocks, named resblocks.0 onwards. [B, T, D] → same."""

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        mlp_ratio: float = 4.0,
        *,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(
            *(ResidualBlock(width, heads, mlp_ratio, causal=causal) for _ in range(layers))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class ClipVit(nn.Module):
    """CLIP's ViT behind its patches: CLS, positions, pre-norm, blocks, norm and projection."""

    def __init__(self, sizes: VitSizes) -> None:
        super().__init__()
        width = sizes.width
        std = width**-0.5  # as CLIP starts
        self.class_embedding = normal_parameter(width, std=std)
        self.positional_embedding = normal_parameter(1 + sizes.num_tokens, width, std=std)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, sizes.heads, sizes.layers, sizes.mlp_ratio)
        self.ln_post = nn.LayerNorm(width)
        self.proj = normal_parameter(width, sizes.embed_dim, std=std)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embed tokens [B, T, D]: [B, E]. T is the size of the positional table without CLS."""
        cls = self.class_embedding.expand(tokens.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([cls, tokens], dim=1) + self.positional_embedding)
        return self.ln_post(self.transformer(x)[:, 0]) @ self.proj


class ImageVit(ClipVit):
    """CLIP's own tower: RGB images [B, 3, H, H] → [B, E]."""

    def __init__(self, sizes: VitSizes) -> None:
        super().__init__(sizes)
        self.image_size = sizes.image_size
        self.conv1 = nn.Conv2d(3, sizes.width, sizes.patch, sizes.patch, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Raises InputError on another size or number of channels."""
        check_shape(images, 3, self.image_size, self.image_size)
        return self.embed(self.conv1(images).flatten(2).transpose(1, 2))


class LensVit(ClipVit):
    """Tokenizer, lens and ViT: one modality's signals to [B, E].

    Args:
        tokenizer: signals → tokens [B, *, C].
        lens: these tokens → the ViT's tokens [B, T, D].
    """

    def __init__(self, tokenizer: nn.Module, lens: nn.Module, sizes: VitSizes) -> None:
        super().__init__(sizes)
        self.visual_adapter = tokenizer
        self.perceiver = lens

    def forward(self, signal: Tensor) -> Tensor:
        """Raises InputError on a signal that the tokenizer refuses."""
        return self.embed(self.perceiver(self.visual_adapter(signal)))

"""The CLIP text transformer under its published names.

It reads token ids [B, T] and returns embeddings [B, E], not normalised.
Source: CLIP (arXiv 2103.00020) §2.4.
"""

import torch
from torch import Tensor, nn

from vitlens_core.models.parameters import normal_parameter, token_embedding
from vitlens_core.models.reference_config import TextSizes
from vitlens_core.models.tokenizers.patches import check_shape
from vitlens_core.models.vit import Transformer


def at_end_of_text(x: Tensor, ids: Tensor) -> Tensor:
    """Take from x [B, T, D] the state at the end-of-text token of ids [B, T]: [B, D].

    In CLIP's vocabulary that token has the highest id, and padding the lowest.
    """
    return x[torch.arange(len(x), device=x.device), ids.argmax(dim=1)]


class ClipText(nn.Module):
    """Causal transformer over token ids. [B, T] → [B, E].

    Args:
        embed_dim: E.
    """

    def __init__(self, sizes: TextSizes, embed_dim: int) -> None:
        super().__init__()
        width = sizes.width
        self.token_embedding = token_embedding(sizes.vocab_size, width)
        self.positional_embedding = normal_parameter(sizes.context_length, width, std=0.01)
        self.transformer = Transformer(width, sizes.heads, sizes.layers, causal=True)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = normal_parameter(width, embed_dim, std=width**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Raises InputError on another context length."""
        check_shape(ids, len(self.positional_embedding))
        x = self.transformer(self.token_embedding(ids) + self.positional_embedding)
        return at_end_of_text(self.ln_final(x), ids) @ self.text_projection

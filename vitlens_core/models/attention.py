"""The two attention layers of the family, under their published parameter names.

Both read token sequences [B, T, D] and return the same shape. They call
`scaled_dot_product_attention`, so that fused kernels apply; causal attention is a flag of that
call, without a stored mask.

Axes: B batch, T tokens attended to, L queries (latents), D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import ConfigError


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, T, heads·d] → [B, heads, T, d]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _merge_heads(x: Tensor) -> Tensor:
    """[B, heads, T, d] → [B, T, heads·d]."""
    return x.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Multi-head self-attention of the ViTs and text encoders.

    Parameters are named as in `torch.nn.MultiheadAttention` (in_proj_weight, in_proj_bias,
    out_proj, and bias_k and bias_v with `bias_kv`), which CLIP and ImageBind publish.

    Args:
        width: D, divisible by `heads`.
        causal: token t sees only tokens up to t.
        bias_kv: one learned key and value is appended to every sequence (ImageBind).

    Raises:
        ConfigError: `width` is not a multiple of `heads`.
    """

    def __init__(
        self, width: int, heads: int, *, causal: bool = False, bias_kv: bool = False
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(
                f"attention width {width} does not divide into {heads} heads; "
                f"choose a width that is a multiple of {heads}"
            )
        self.heads = heads
        self.causal = causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.bias_k = nn.Parameter(torch.zeros(1, 1, width)) if bias_kv else None
        self.bias_v = nn.Parameter(torch.zeros(1, 1, width)) if bias_kv else None
        # The initial values of `torch.nn.MultiheadAttention`.
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] → [B, T, D]."""
        query, key, value = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        if self.bias_k is not None and self.bias_v is not None:
            # Under autocast keys and values are bf16, while parameters stay fp32.
            batch = x.shape[0]
            key = torch.cat([key, self.bias_k.expand(batch, -1, -1).to(key.dtype)], dim=1)
            value = torch.cat([value, self.bias_v.expand(batch, -1, -1).to(value.dtype)], dim=1)
        attended = F.scaled_dot_product_attention(
            _split_heads(query, self.heads),
            _split_heads(key, self.heads),
            _split_heads(value, self.heads),
            is_causal=self.causal,
        )
        return self.out_proj(_merge_heads(attended))


class LatentAttention(nn.Module):
    """Attention of the Perceiver: queries from the latents, keys and values from a context.

    Names (to_q, to_kv, to_out) and the projections without bias are the published ones. The
    inner width heads × dim_head may differ from D.

    Args:
        width: D of the queries and of the result.
        context_width: width of the context; `width` for self-attention.
    """

    def __init__(self, width: int, context_width: int, heads: int, dim_head: int) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(context_width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x [B, L, D], context [B, T, C] → [B, L, D]."""
        key, value = self.to_kv(context).chunk(2, dim=-1)
        attended = F.scaled_dot_product_attention(
            _split_heads(self.to_q(x), self.heads),
            _split_heads(key, self.heads),
            _split_heads(value, self.heads),
        )
        return self.to_out(_merge_heads(attended))

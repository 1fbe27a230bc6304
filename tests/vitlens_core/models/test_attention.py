"""Both attention layers against independent implementations."""

import pytest
import torch
from torch import nn

from vitlens_core.errors import ConfigError
from vitlens_core.models.attention import LatentAttention, SelfAttention


def _torch_attention(attention: SelfAttention, width: int) -> nn.MultiheadAttention:
    """torch's own layer with the same weights, loaded by name."""
    bias_kv = attention.bias_k is not None
    reference = nn.MultiheadAttention(width, attention.heads, add_bias_kv=bias_kv, batch_first=True)
    reference.load_state_dict(attention.state_dict())
    return reference


@pytest.mark.parametrize(("width", "heads", "tokens"), [(32, 4, 7), (48, 3, 1), (40, 8, 33)])
@pytest.mark.parametrize(("causal", "bias_kv"), [(False, False), (True, False), (False, True)])
def test_self_attention_is_torchs_multihead_attention(width, heads, tokens, causal, bias_kv):
    torch.manual_seed(0)
    attention = SelfAttention(width, heads, causal=causal, bias_kv=bias_kv)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(3, tokens, width)
    mask = nn.Transformer.generate_square_subsequent_mask(tokens) if causal else None
    expected, _ = _torch_attention(attention, width)(x, x, x, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=0)


def test_causal_attention_does_not_look_ahead():
    torch.manual_seed(0)
    attention = SelfAttention(16, 2, causal=True)
    x = torch.randn(1, 6, 16)
    changed = x.clone()
    changed[:, 4:] += 1
    before, after = attention(x), attention(changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-3


def test_latent_attention_is_softmax_of_scaled_products():
    torch.manual_seed(0)
    heads, dim_head = 3, 5
    attention = LatentAttention(8, 12, heads, dim_head)
    x, context = torch.randn(2, 4, 8), torch.randn(2, 9, 12)
    query = attention.to_q(x)
    key, value = attention.to_kv(context).split(heads * dim_head, dim=-1)
    parts = []
    for head in range(heads):
        of_head = slice(head * dim_head, (head + 1) * dim_head)
        scores = query[..., of_head] @ key[..., of_head].transpose(1, 2) / dim_head**0.5
        parts.append(scores.softmax(-1) @ value[..., of_head])
    expected = attention.to_out(torch.cat(parts, dim=-1))
    torch.testing.assert_close(attention(x, context), expected, atol=1e-5, rtol=0)


def test_width_must_divide_into_heads():
    with pytest.raises(ConfigError, match="width 30 does not divide into 4 heads"):
        SelfAttention(30, 4)

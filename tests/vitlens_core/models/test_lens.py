"""Lenses: a fixed number of latents from any tokens; tying; what is refused."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitlens_core.errors import ConfigError
from vitlens_core.models.lens import IdentityLens, PerceiverLens

SIZES: dict[str, Any] = {
    "depth": 3,
    "num_latents": 4,
    "latent_heads": 2,
    "latent_dim_head": 8,
    "cross_dim_head": 8,
}


def _lens(**overrides) -> PerceiverLens:
    torch.manual_seed(0)
    return PerceiverLens(16, 12, **(SIZES | overrides))


@given(tokens=st.integers(1, 40), batch=st.integers(1, 3))
@settings(deadline=None, max_examples=15)
def test_any_number_of_tokens_becomes_the_same_number_of_latents(tokens, batch):
    assert _lens()(torch.randn(batch, tokens, 12)).shape == (batch, 4, 16)


@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=15)
def test_the_order_of_tokens_is_irrelevant(seed):
    lens = _lens()
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(2, 10, 12, generator=generator)
    shuffled = tokens[:, torch.randperm(10, generator=generator)]
    torch.testing.assert_close(lens(shuffled), lens(tokens), atol=1e-5, rtol=0)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_tied_layers_share_every_weight_but_those_of_the_first(depth):
    tied = _lens(depth=depth, tie_weights=True)
    assert len(tied.layers) == depth
    assert len({id(layer) for layer in tied.layers}) == min(depth, 2)


def test_a_tied_lens_is_named_and_computes_as_an_untied_one():
    tied, untied = _lens(tie_weights=True), _lens()
    untied.load_state_dict(tied.state_dict())
    tokens = torch.randn(2, 5, 12)
    torch.testing.assert_close(tied(tokens), untied(tokens))
    assert sum(p.numel() for p in tied.parameters()) < sum(p.numel() for p in untied.parameters())


@pytest.mark.parametrize("self_per_cross", [0, 1, 3])
def test_every_parameter_is_trained(self_per_cross):
    lens = _lens(self_per_cross=self_per_cross)
    lens(torch.randn(2, 5, 12)).square().sum().backward()
    untrained = [n for n, p in lens.named_parameters() if p.grad is None or not p.grad.any()]
    assert untrained == []


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"num_latents": 0}, {"self_per_cross": -1}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ConfigError, match="depth ≥ 1"):
        _lens(**wrong)


def test_the_identity_lens_hands_tokens_on():
    tokens = torch.randn(2, 5, 12)
    assert torch.equal(IdentityLens()(tokens), tokens)

"""The interface every foundation has: pixels in, unit-norm embeddings out, an identity."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny_models import TinyFoundation
from vitlens_core.errors import InputError


def _images(count: int = 2, side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, side, side, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(1, 16, 16, 3), _images().permute(0, 3, 1, 2), _images()[0], _images()[..., :2]],
)
def test_other_images_are_refused(wrong):
    with pytest.raises(InputError, match=r"uint8 RGB images \[B, H, W, 3\], found torch"):
        TinyFoundation().preprocess(wrong)


@given(height=st.integers(1, 40), width=st.integers(1, 40))
@settings(deadline=None, max_examples=20)
def test_images_of_any_size_become_squares_within_the_range_of_pixels(height, width):
    foundation = TinyFoundation()
    images = torch.randint(256, (1, height, width, 3), dtype=torch.uint8)
    pixels = foundation.preprocess(images)
    assert pixels.shape == (1, 3, 16, 16)
    assert pixels.min() >= -2  # (0 − mean) ÷ std
    assert pixels.max() <= 2


def test_pixels_are_normalised_channel_by_channel():
    foundation = TinyFoundation()
    foundation.mean[0, :, 0, 0] = torch.tensor([0.0, 0.5, 1.0])
    foundation.std[0, :, 0, 0] = torch.tensor([1.0, 0.5, 0.25])
    white = foundation.preprocess(torch.full((1, 16, 16, 3), 255, dtype=torch.uint8))
    assert white[0, :, 3, 3].tolist() == [1.0, 1.0, 0.0]


def test_embeddings_are_of_unit_norm_and_carry_no_gradient():
    foundation = TinyFoundation()
    for embeddings in (foundation.encode_image(_images()), foundation.encode_text(["a", "bc"])):
        torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(2))
        assert not embeddings.requires_grad


def test_the_image_is_what_the_trunk_makes_of_its_tokens():
    foundation = TinyFoundation()
    tokens = foundation.image_tokens(foundation.preprocess(_images()))
    embeddings = torch.nn.functional.normalize(foundation.trunk(tokens), dim=-1)
    torch.testing.assert_close(foundation.encode_image(_images()), embeddings)


def test_a_frozen_foundation_has_nothing_to_train():
    foundation = TinyFoundation()
    assert foundation.freeze() is foundation
    assert not any(p.requires_grad for p in foundation.parameters())
    assert not any(module.training for module in foundation.modules())


def test_equal_weights_have_equal_digests_and_any_change_shows():
    first, second = TinyFoundation(), TinyFoundation()
    assert first.digest() == second.digest()
    assert TinyFoundation(seed=1).digest() != first.digest()
    assert second.trunk.cls_token is not None
    with torch.no_grad():
        assert second.trunk.cls_token is not None
        second.trunk.cls_token[0] += 1e-6
    assert second.digest() != first.digest()

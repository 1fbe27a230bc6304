"""The CLIP towers against open_clip's, at sizes other than the published ones."""

import pytest
import torch
from open_clip.transformer import TextTransformer, VisionTransformer

from vitlens_core.errors import ConfigError, InputError
from vitlens_core.models.lens import IdentityLens
from vitlens_core.models.reference_config import TextSizes, VitSizes
from vitlens_core.models.text import ClipText
from vitlens_core.models.tokenizers import PatchTokenizer
from vitlens_core.models.vit import ImageVit, LensVit

SIZES = VitSizes(width=48, heads=3, layers=3, patch=8, image_size=40, embed_dim=20, mlp_ratio=3.5)


def _shaken(module):
    """Norms and biases start at 0 and 1, where mistakes do not show."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return module.eval()


def test_images_as_in_open_clip():
    published = _shaken(
        VisionTransformer(
            image_size=40, patch_size=8, width=48, layers=3, heads=3, mlp_ratio=3.5, output_dim=20
        )
    )
    own = ImageVit(SIZES)
    own.load_state_dict(published.state_dict())
    images = torch.randn(2, 3, 40, 40)
    torch.testing.assert_close(own(images), published(images), atol=1e-5, rtol=0)


def test_texts_as_in_open_clip():
    published = _shaken(
        TextTransformer(
            context_length=12, vocab_size=60, width=24, heads=2, layers=2, output_dim=20
        )
    )
    own = ClipText(TextSizes(context_length=12, vocab_size=60, width=24, heads=2, layers=2), 20)
    state = published.state_dict()
    state.pop("attn_mask", None)
    own.load_state_dict(state)
    ids = torch.randint(1, 59, (3, 12))
    ids[:, 9] = 59  # end of text
    torch.testing.assert_close(own(ids), published(ids), atol=1e-5, rtol=0)


def test_what_follows_the_end_of_text_is_not_read():
    own = ClipText(TextSizes(context_length=12, vocab_size=60, width=24, heads=2, layers=2), 20)
    ids = torch.randint(1, 59, (2, 12))
    ids[:, 7] = 59
    padded = ids.clone()
    padded[:, 8:] = 0
    torch.testing.assert_close(own(ids), own(padded))
    padded[:, 6] = 0
    assert (own(ids) - own(padded)).abs().max() > 1e-4


def test_a_lens_tower_is_the_vit_behind_its_tokenizer():
    image_vit = _shaken(ImageVit(SIZES))
    tokenizer = PatchTokenizer(width=48, patch=8, size=(40, 40), in_channels=3, positions=False)
    tower = LensVit(tokenizer, IdentityLens(), SIZES)
    shared = {k: v for k, v in image_vit.state_dict().items() if k != "conv1.weight"}
    conv = {"visual_adapter.conv1.weight": image_vit.conv1.weight}
    tower.load_state_dict(shared | conv)
    images = torch.randn(2, 3, 40, 40)
    torch.testing.assert_close(tower(images), image_vit(images))


def test_other_sizes_are_refused():
    with pytest.raises(InputError, match=r"\[B, 3, 40, 40\], found \[1, 3, 48, 40\]"):
        ImageVit(SIZES)(torch.zeros(1, 3, 48, 40))
    with pytest.raises(ConfigError, match="multiple of 5"):
        ImageVit(SIZES.model_copy(update={"heads": 5}))

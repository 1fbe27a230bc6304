"""The trunk against open_clip's and timm's own forward pass, and how it is cut and resized."""

import re
from typing import Any

import open_clip
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.modified_resnet import ModifiedResNet
from safetensors.torch import save_file

from tests.tiny_models import TinyFoundation, clip_vit, shaken, tiny_tower, tower_settings
from vitlens_core.checkpoint import encode_lens, load_lens
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.models.sizes import open_clip_sizes
from vitlens_core.models.trunk import ProjectedReadout, TapFeatures, resample_positions
from vitlens_core.models.wrapped_trunks import load_trunk, open_clip_trunk, timm_trunk

SMALL: dict[str, Any] = {
    "img_size": 56,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 2,
    "num_classes": 0,
}


def _clip_tokens(vit, images):
    return vit.conv1(images).flatten(2).mT


@pytest.mark.parametrize("variant", [{}, {"no_ln_pre": True}, {"ls_init_value": 0.1}])
def test_images_as_in_open_clip(variant):
    vit = clip_vit(**variant)
    images = torch.randn(2, 3, 16, 16)
    embeddings = open_clip_trunk(vit)(_clip_tokens(vit, images))
    assert embeddings.std() > 0.01
    torch.testing.assert_close(embeddings, vit(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "name", ["vit_small_patch14_dinov2", "vit_base_patch16_224", "vit_base_patch16_clip_224"]
)
def test_images_as_in_timm(name):
    """The last two blocks, normed, as timm gives them: CLS and mean patch of each."""
    vit = shaken(timm.create_model(name, **SMALL))
    images = torch.randn(2, 3, *vit.patch_embed.img_size)
    features = timm_trunk(vit, TapFeatures(vit.norm, 2))(vit.patch_embed(images))
    layers = vit.get_intermediate_layers(images, n=2, return_prefix_tokens=True, norm=True)
    expected = [part for patches, cls in layers for part in (cls[:, 0], patches.mean(1))]
    torch.testing.assert_close(features, torch.cat(expected, dim=-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[:, 48:72], vit.forward_features(images)[:, 0])


def test_dropped_blocks_are_the_outer_ones():
    vit = clip_vit(layers=5)
    trunk = open_clip_trunk(vit)
    kept = trunk.without_blocks(first=1, last=2)
    assert list(kept.blocks) == list(vit.transformer.resblocks)[1:3]
    assert len(trunk.blocks) == 5


@pytest.mark.parametrize(("first", "last"), [(5, 0), (3, 2), (-1, 0)])
def test_the_blocks_that_are_read_out_stay(first, last):
    trunk = open_clip_trunk(clip_vit(layers=5))
    with pytest.raises(ConfigError, match="5: at least 1 must stay"):
        trunk.without_blocks(first, last)
    two_taps = trunk.with_readout(TapFeatures(torch.nn.Identity(), 2))
    with pytest.raises(ConfigError, match="at least 2"):
        two_taps.without_blocks(first=4)
    assert len(two_taps.without_blocks(first=3).blocks) == 2


def test_tokens_of_another_grid_get_resampled_positions():
    trunk = open_clip_trunk(clip_vit())
    tokens = torch.randn(2, 9, 24)
    resized = trunk.resized(9)
    assert resized.positions.shape == (10, 24)
    torch.testing.assert_close(resized(tokens), trunk(tokens))
    assert torch.equal(trunk.resized(16).positions, trunk.positions)


@given(old=st.integers(2, 9), new=st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_resampling_keeps_what_is_even_and_what_lies_left_and_right(old, new):
    columns = torch.linspace(-1, 1, old).repeat(old)
    table = torch.stack([torch.full((old * old,), 0.3), columns], dim=1)
    even, across = resample_positions(table, new * new).T.reshape(2, new, new)
    torch.testing.assert_close(even, torch.full((new, new), 0.3))
    torch.testing.assert_close(across, -across.flip(1), atol=1e-5, rtol=0)
    assert (across.diff(dim=1) > 0).all()


@pytest.mark.parametrize(("tokens", "choices"), [(10, "9 or 16"), (2, "1 or 4")])
def test_tokens_that_form_no_square_are_refused_with_those_that_do(tokens, choices):
    with pytest.raises(ConfigError, match=f"4×4 grid.*{choices}"):
        resample_positions(torch.zeros(16, 3), tokens)


@pytest.mark.parametrize(
    "tower",
    [
        ModifiedResNet([1, 1, 1, 1], 16, heads=2, width=8, image_size=32),
        clip_vit(attentional_pool=True, attn_pooler_queries=4, attn_pooler_heads=2),
        clip_vit(pool_type="avg"),
    ],
)
def test_a_tower_that_is_no_clip_vit_is_refused(tower):
    with pytest.raises(ConfigError, match=re.escape("such as ViT-B-16")):
        open_clip_trunk(tower)


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "resnet18"])
def test_a_timm_model_with_registers_or_no_positions_is_refused(name):
    sizes: dict[str, Any] = {"num_classes": 0} if name == "resnet18" else SMALL
    vit = timm.create_model(name, **sizes)
    with pytest.raises(ConfigError, match="no learned positional table"):
        timm_trunk(vit)


EVA: dict[str, Any] = SMALL | {"embed_dim": 48, "num_heads": 2, "num_classes": 10}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("vit_base_patch16_siglip_224", SMALL | {"img_size": 64}),  # attention pooling, no CLS
        ("vit_base_patch16_224", SMALL | {"num_classes": 7}),
        ("vit_base_patch16_224", SMALL | {"global_pool": "avg", "class_token": False}),
        ("eva_giant_patch14_224", EVA | {"global_pool": "token"}),  # Uni3D's, EVA01's
        ("eva02_large_patch14_clip_224", EVA | {"global_pool": "token"}),  # rotary embedding
        ("eva02_enormous_patch14_clip_224", EVA | {"global_pool": "token"}),
    ],
)
def test_a_wrapped_vit_embeds_images_as_timm_does(name, sizes):
    vit = shaken(timm.create_model(name, **sizes))
    images = torch.randn(2, 3, *vit.patch_embed.img_size)
    trunk = timm_trunk(vit)
    found = trunk(vit.patch_embed(images))
    assert found.std() > 1e-3
    torch.testing.assert_close(found, vit(images), atol=1e-5, rtol=1e-5)
    assert isinstance(trunk.readout, ProjectedReadout)
    assert trunk.readout.sizes == (vit.embed_dim, found.shape[1])
    # Some of its tokens, each with its own position and rotation: all of them is the whole.
    kept = torch.arange(trunk.input_tokens).expand(2, -1)
    torch.testing.assert_close(trunk(vit.patch_embed(images), kept), found)
    fewer = trunk(vit.patch_embed(images)[:, ::2], kept[:, ::2])
    assert not torch.allclose(fewer, found)


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "EVA02-B-16", "EVA02-E-14-plus"])
def test_towers_of_open_clip_that_are_timm_s_are_wrapped(name):
    config = open_clip.get_model_config(name)
    assert config is not None
    trunk = open_clip_sizes(name)
    assert isinstance(trunk.readout, ProjectedReadout)
    assert trunk.readout.sizes[1] == config["embed_dim"]
    assert (trunk.rotary is not None) == (name == "EVA02-B-16")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vit_base_patch16_224.augreg_in21k", "expected timm:"),
        ("timm:vit_bass_patch16.augreg", "expected timm:"),
        ("timm:vit_base_patch16_224.nothing", "its tags: .*augreg_in21k"),
    ],
)
def test_a_trunk_that_timm_does_not_have_is_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        load_trunk(spec)


def test_a_tower_stands_on_a_trunk_of_its_own_with_a_trained_head(tmp_path):
    """The lens is trained on another ViT than the foundation's, and read back with its weights."""
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    file = tmp_path / "vit.safetensors"
    save_file(vit.state_dict(), file)
    spec = f"timm:vit_tiny_patch16_224.{file}"
    foundation = TinyFoundation()
    tower = tiny_tower(foundation, trunk={"model": spec, "skip_first": 10}, head="linear")
    assert tower.trunk.width == 192
    embeddings = tower.eval()(torch.rand(2, 32, 6))
    assert embeddings.shape == (2, foundation.embed_dim)
    settings = tower_settings(trunk={"model": spec, "skip_first": 10}, head="linear")
    lens = tmp_path / "lens.safetensors"
    state, digest = tower.trained_state(), tower.frozen_digest()
    lens.write_bytes(encode_lens(state, settings, "tiny:0", foundation.digest(), digest))
    again, _ = load_lens(lens, foundation)
    clouds = torch.rand(2, 32, 6)
    torch.testing.assert_close(again(clouds), tower(clouds))
    other = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    save_file(other.state_dict(), file)
    with pytest.raises(CheckpointError, match="frozen weights of digest"):
        load_lens(lens, foundation)
    with pytest.raises(ConfigError, match="choose linear or mlp"):
        tower_settings(trunk={"model": spec})


def test_the_last_blocks_are_unlocked_with_the_norm_behind_them():
    tower = tiny_tower(TinyFoundation(), trunk={"unlock_last": 1})
    trained = {n for n, p in tower.trunk.named_parameters() if p.requires_grad}
    assert {".".join(name.split(".")[:2]) for name in trained} == {"blocks.2", "readout.norm"}

"""Building and loading published towers: sizes, selection, refused configs."""

import json

import pytest
import torch

from vitlens_core.errors import ConfigError
from vitlens_core.models.published import IMAGEBIND_HUGE, VITLENS_L
from vitlens_core.models.reference import (
    build_imagebind,
    build_openshape_tower,
    build_towers,
    load_towers,
)

SMALL = {
    "vit": {"width": 24, "heads": 3, "layers": 1, "patch": 16, "image_size": 48, "embed_dim": 10},
    "text": {"context_length": 9, "vocab_size": 30, "width": 16, "heads": 4, "layers": 1},
    "lens": {
        "num_latents": 9,
        "latent_dim": 24,
        "latent_heads": 2,
        "latent_dim_head": 7,
        "cross_heads": 2,
        "cross_dim_head": 5,
    },
    "pc": {
        "tokenizer": "pointbert",
        "num_group": 11,
        "group_size": 6,
        "encoder_dims": 20,
        "trans_dim": 28,
        "lens_depth": 2,
        "self_per_cross_attn": 2,
    },
    "depth": {"lens": "identity"},
    "audio": {
        "mel_bins": 37,
        "target_length": 101,
        "fstride": 7,
        "tstride": 12,
        "lens_depth": 1,
        "self_per_cross_attn": 1,
    },
    "tactile": {"lens": None},
    "eeg": {
        "chans": 5,
        "time_len": 60,
        "window_size": 4,
        "stride": 3,
        "lens_depth": 1,
        "self_per_cross_attn": 2,
    },
}
SIGNALS = {
    "image": torch.randn(2, 3, 48, 48),
    "text": torch.randint(0, 30, (2, 9)),
    "pc": torch.randn(2, 70, 3),
    "depth": torch.randn(2, 1, 48, 48),
    "audio": torch.randn(2, 101, 37),
    "tactile": torch.randn(2, 3, 48, 48),
    "eeg": torch.randn(2, 5, 60),
}
OPENSHAPE = {
    "vit": {k: v for k, v in SMALL["vit"].items() if k != "layers"}
    | {"layers_total": 5, "layers_skipped_first": 3},
    "lens": SMALL["lens"] | {"depth": 1, "self_per_cross_attn": 1},
    "tokenizer": {
        "kind": "pnsa",
        "in_channel": 6,
        "radius": 0.2,
        "num_group": 7,
        "group_size": 5,
        "encoder_dims": 20,
        "trans_dim": 18,
    },
}


def _weights(config):
    return {
        f"vitlens.{tower}.{name}": tensor
        for tower, module in build_towers(config).items()
        for name, tensor in module.state_dict().items()
    }


def _changed(config, section, **values):
    return config | {section: config[section] | values}


def test_towers_of_other_sizes_embed_every_modality():
    towers = load_towers(_weights(SMALL), SMALL)
    assert towers.keys() == SIGNALS.keys()
    for name, tower in towers.items():
        assert tower(SIGNALS[name]).shape == (2, 10)
        assert not tower.training


def test_loaded_towers_compute_what_the_built_ones_do():
    built = build_towers(SMALL)
    weights = {f"vitlens.{t}.{n}": v for t, m in built.items() for n, v in m.state_dict().items()}
    loaded = load_towers(weights, SMALL)
    for name, tower in built.items():
        torch.testing.assert_close(loaded[name](SIGNALS[name]), tower.eval()(SIGNALS[name]))


def test_a_config_is_a_mapping_a_file_or_ready_made(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    for config in (SMALL, tmp_path / "config.json", str(tmp_path / "config.json")):
        assert build_towers(config).keys() == SIGNALS.keys()


def test_only_the_chosen_towers_are_loaded():
    weights = _weights(SMALL)
    assert load_towers(weights, SMALL, only=["pc"]).keys() == {"pc"}
    only_pc = {name: t for name, t in weights.items() if name.startswith("vitlens.pc.")}
    assert load_towers(only_pc, SMALL, only=["pc"]).keys() == {"pc"}
    with pytest.raises(ConfigError, match="no section for thermal; choose from image, text"):
        load_towers(weights, SMALL, only=["pc", "thermal"])


def test_absent_sections_have_no_tower():
    without = {key: SMALL[key] for key in ("vit", "tactile")}
    assert build_towers(without).keys() == {"image", "tactile"}


def test_skipped_blocks_are_not_built():
    tower = build_openshape_tower(OPENSHAPE)
    assert len(tower.transformer.resblocks) == 2
    assert tower.eval()(torch.randn(2, 50, 6)).shape == (2, 10)


def test_published_sizes_cost_no_memory_on_the_meta_device():
    with torch.device("meta"):
        modules = [*build_towers(VITLENS_L).values(), build_imagebind(IMAGEBIND_HUGE)]
    tensors = [t for module in modules for t in module.state_dict().values()]
    assert all(tensor.is_meta for tensor in tensors)
    assert sum(tensor.numel() for tensor in tensors) > 2e9


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (_changed(SMALL, "vit", widht=24), "widht"),
        (_changed(SMALL, "vit", width=0), "greater than 0"),
        (_changed(SMALL, "vit", heads=5), "multiple of 5"),
        (_changed(SMALL, "vit", patch=50), "patch of 50 exceeds the image of 48"),
        (_changed(SMALL, "lens", num_latents=16), "16 latents of width 24, its ViT takes 9"),
        (_changed(SMALL, "audio", mel_bins=10), "shorter than a window of 16"),
        (_changed(SMALL, "pc", tokenizer="pnsa"), "pointbert"),
        ({key: value for key, value in SMALL.items() if key != "lens"}, "need the section `lens`"),
        ("absent.json", "cannot read the config absent.json"),
    ],
)
def test_impossible_towers_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        build_towers(config)


def test_an_openshape_tower_keeps_a_block():
    with pytest.raises(ConfigError, match="skipping 5 of 5 blocks leaves none"):
        build_openshape_tower(_changed(OPENSHAPE, "vit", layers_skipped_first=5))

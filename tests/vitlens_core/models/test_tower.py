"""The tower: what is trained, what is stored, what is refused; the foundation is untouched."""

import pytest
import torch
from pydantic import ValidationError

from tests.tiny_models import (
    LENS,
    SIGNAL,
    TOKENIZER,
    TinyFoundation,
    stored_clouds,
    tiny_tower,
    tower_settings,
)
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.models.tower import Tower, build_tower
from vitlens_core.models.tower_settings import TowerSettings


def _seen(clouds: torch.Tensor) -> torch.Tensor:
    settings = tower_settings()
    return settings.tokenizer_config.prepare(clouds, settings.signal_config)


def _trained(tower: Tower) -> set[str]:
    return {name for name, p in tower.named_parameters() if p.requires_grad}


def test_embeddings_are_of_unit_norm_and_of_the_foundations_width():
    tower = tiny_tower(TinyFoundation()).eval()
    embeddings = tower(_seen(stored_clouds(3)))
    assert embeddings.shape == (3, 10)
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(3))


def test_the_trunk_is_frozen_unless_it_is_unlocked():
    locked = _trained(tiny_tower(TinyFoundation()))
    assert {name.partition(".")[0] for name in locked} == {"tokenizer", "lens", "log_scale"}
    plan = {"skip_first": 1, "unlock_cls": True, "unlock_positions": True, "unlock_first": 1}
    plan["unlock_norm_pre"] = True
    unlocked = _trained(tiny_tower(TinyFoundation(), trunk=plan)) - locked
    blocks = {name for name in unlocked if name.startswith("trunk.blocks.0.")}
    norm = {"trunk.norm_pre.weight", "trunk.norm_pre.bias"}
    assert unlocked - blocks == {"trunk.cls_token", "trunk.positions"} | norm
    assert len(blocks) == len(list(TinyFoundation().trunk.blocks[1].parameters()))


def test_every_trained_parameter_learns_and_the_foundation_stays_as_it_was():
    foundation = TinyFoundation()
    before = foundation.digest()
    tower = tiny_tower(foundation, trunk={"unlock_cls": True, "unlock_first": 3}).train()
    loss = (tower.log_scale.exp() * tower(_seen(stored_clouds(4)))[:, 0]).sum()
    loss.backward()
    still = [n for n, p in tower.named_parameters() if p.requires_grad and p.grad is None]
    assert still == []
    torch.optim.SGD([p for p in tower.parameters() if p.requires_grad], lr=1.0).step()
    assert foundation.digest() == before


def test_training_mode_leaves_the_trunk_in_evaluation():
    tower = tiny_tower(TinyFoundation()).train()
    assert tower.tokenizer.training
    assert not any(module.training for module in tower.trunk.modules())


def test_what_is_stored_is_what_was_trained_and_batch_statistics():
    tower = tiny_tower(TinyFoundation())
    statistics = set(tower.trained_state()) - _trained(tower)
    assert statistics
    assert {name.rpartition(".")[2] for name in statistics} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"trunk": {"unlock_cls": True, "unlock_positions": True, "unlock_first": 2}},
        {"trunk": {"unlock_norm_pre": True}},
        {"lens": LENS | {"depth": 3, "tie_weights": True}},
    ],
)
def test_a_tower_given_the_trained_state_of_another_computes_as_it_does(overrides):
    foundation = TinyFoundation()
    tower, fresh = (tiny_tower(foundation, seed, **overrides) for seed in (0, 1))
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.01 if parameter.requires_grad else 0.0)
    tower.train()(_seen(stored_clouds(4)))  # moves the batch statistics
    fresh.load_trained_state(tower.trained_state())
    clouds = _seen(stored_clouds(2, seed=1))
    assert torch.equal(fresh.eval()(clouds), tower.eval()(clouds))


def test_another_set_of_tensors_is_refused_by_name():
    tower = tiny_tower(TinyFoundation())
    state = tower.trained_state()
    with pytest.raises(CheckpointError, match=r"missing \['log_scale'\], unexpected \['odd'\]"):
        tower.load_trained_state(
            {k: v for k, v in state.items() if k != "log_scale"} | {"odd": state["log_scale"]}
        )
    with pytest.raises(CheckpointError, match=r"lens\.latents"):
        tower.load_trained_state(state | {"lens.latents": torch.zeros(9, 24)})


def test_tied_layers_are_stored_once():
    tied = tiny_tower(TinyFoundation(), lens=LENS | {"depth": 4, "tie_weights": True})
    once = tiny_tower(TinyFoundation(), lens=LENS | {"depth": 2})
    assert tied.trained_state().keys() == once.trained_state().keys()


def test_touch_starts_from_the_trunks_own_patches():
    foundation = TinyFoundation()
    sizes = {"crop_px": 16, "patch_px": 4, "width": 24}
    settings = TowerSettings.of("tactile", signal={"side_px": 18}, tokenizer=sizes)
    tower = build_tower(settings, foundation.trunk).eval()
    pictures = torch.randint(256, (2, 18, 18, 3), dtype=torch.uint8)
    seen = settings.tokenizer_config.prepare(pictures, settings.signal_config)
    torch.testing.assert_close(tower.tokenizer(seen), foundation.image_tokens(seen))
    torch.testing.assert_close(tower.embed(seen), foundation.visual(seen))
    assert _trained(tower) > {"tokenizer.conv1.weight", "trunk.norm_pre.weight", "trunk.cls_token"}
    other = TowerSettings.of("tactile", signal={"side_px": 18}, tokenizer=sizes | {"patch_px": 8})
    with pytest.raises(ConfigError, match=r"patches of \[24, 3, 4, 4\].*fit patch_px and width"):
        build_tower(other, foundation.trunk)


def test_skipped_blocks_are_gone():
    tower = tiny_tower(TinyFoundation(), trunk={"skip_first": 1, "skip_last": 1})
    assert len(tower.trunk.blocks) == 1


def test_an_identity_lens_hands_the_tokens_to_the_trunk():
    tokenizer = TOKENIZER | {"width": 24, "groups": 16}
    tower = tiny_tower(TinyFoundation(), tokenizer=tokenizer, lens={"kind": "identity"})
    assert tower(_seen(stored_clouds(2))).shape == (2, 10)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lens": LENS | {"latents": 5}},
        {"trunk": {"skip_first": 3}},
    ],
)
def test_sizes_that_do_not_fit_the_trunk_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"4 or 9|at least 1 must stay"):
        tiny_tower(TinyFoundation(), **wrong)


def test_settings_spell_out_the_modalitys_defaults():
    """Else a checkpoint would change with the defaults of a later release."""
    unset = tower_settings(signal={}, tokenizer={})
    for settings in (TowerSettings(modality="point_cloud"), unset):
        assert settings.signal == {"points": 10_000}
        assert settings.tokenizer["points_seen"] == 8192
        assert settings.tokenizer["colour"] is True


def test_a_tower_needs_no_more_of_a_recording_than_it_sees():
    settings = tower_settings(signal={"points": 10_000})
    assert settings.signal_needed.model_dump() == {"points": 32}
    thermal = TowerSettings.of("thermal")
    assert thermal.signal_needed == thermal.signal_config


@pytest.mark.parametrize(
    ("modality", "sizes", "words"),
    [
        (
            "point_cloud",
            {"signal": {"points": 20}, "tokenizer": {"points_seen": 21}},
            "21.*only 20",
        ),
        (
            "tactile",
            {"signal": {"side_px": 30}, "tokenizer": {"crop_px": 31}},
            "31 px, but squares of 30 px",
        ),
    ],
)
def test_a_tower_cannot_see_more_than_is_stored(modality, sizes, words):
    with pytest.raises(ConfigError, match=words):
        TowerSettings.of(modality, **sizes)


def test_mistakes_in_the_settings_are_named():
    with pytest.raises(ConfigError, match=r"'smell'; there are: .*point_cloud"):
        TowerSettings(modality="smell")
    for section in ("signal", "tokenizer"):
        with pytest.raises(ValidationError, match="point_count"):
            TowerSettings.model_validate({"modality": "point_cloud", section: {"point_count": 3}})
    with pytest.raises(ValidationError, match="latent_count"):
        tower_settings(lens={"latent_count": 3})
    with pytest.raises(ValidationError, match="modality"):
        TowerSettings.model_validate({"signal": SIGNAL, "tokenizer": TOKENIZER})

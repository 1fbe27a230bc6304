"""What every modality promises, whatever it perceives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.contracts.examples import example, raws, shuffled
from tests.tiny_models import TinyFoundation
from vitlens_core import modalities
from vitlens_core.captions import class_prompts
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.losses.base import Pairs
from vitlens_core.losses.info_nce import info_nce
from vitlens_core.models.tower import Tower, TowerSettings

EVERY = modalities.names()
LENSED = modalities.lensed()
ENCODED = sorted(set(EVERY) - set(LENSED))
SIDE_PX = TinyFoundation().image_size_px

every = pytest.mark.parametrize("name", EVERY)
lensed = pytest.mark.parametrize("name", LENSED)
encoded = pytest.mark.parametrize("name", ENCODED)


def _signal(name: str) -> Any:
    return modalities.load(name).Tokenizer(**example(name).tokenizer)


def _stored(name: str, count: int = 4, seed: int = 0) -> Tensor:
    """Stored signals [count, …]."""
    return torch.from_numpy(np.stack([_signal(name).store(raw) for raw in raws(name, count, seed)]))


def _tower(name: str) -> Tower:
    torch.manual_seed(0)
    sizes = example(name)
    settings = TowerSettings.of(name, tokenizer=sizes.tokenizer, lens=sizes.lens)
    return settings.build(TinyFoundation().trunk)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _prepared(settings: Any, signals: Tensor) -> Tensor:
    return settings.prepare(signals)


def _augmented(settings: Any, signals: Tensor) -> Tensor:
    return settings.augment(signals, _seeded(0))


@every
def test_a_modality_names_itself(name: str) -> None:
    module = modalities.load(name)
    assert name == module.NAME
    assert module.WORD.isidentifier()
    assert len(set(module.TEMPLATES)) == len(module.TEMPLATES)
    assert all("chair" in prompt for prompt in class_prompts("chair", module.TEMPLATES))


def test_words_and_stored_names_are_told_apart() -> None:
    assert len({modalities.load(name).WORD for name in EVERY}) == len(EVERY)
    assert len({modalities.load(name).SIGNAL for name in LENSED}) == len(LENSED)


def test_an_unknown_modality_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"'smell'; there are: .*point_cloud"):
        modalities.load("smell")
    for name in ENCODED:
        with pytest.raises(ConfigError, match=f"'{name}' is encoded by the foundation"):
            modalities.load_lensed(name)


@every
def test_a_file_that_is_not_there_or_not_of_its_kind_is_named(name: str, tmp_path: Path) -> None:
    odd = tmp_path / "odd.xyz"
    odd.write_bytes(b"\x00\x01")
    for path in (tmp_path / "absent.npy", odd, tmp_path):
        with pytest.raises(InputError, match=path.name):
            modalities.load(name).read(path)


# --- through a lens -------------------------------------------------------------------------


@lensed
def test_settings_are_frozen_and_spelled_out(name: str) -> None:
    settings = _signal(name)
    assert type(settings)(**settings.model_dump()) == settings
    with pytest.raises(ValidationError, match="extra_forbidden"):
        type(settings)(smell=1)
    with pytest.raises(ValidationError, match="frozen"):
        settings.width = 3


@lensed
def test_the_example_is_of_the_stated_shape_and_can_be_stored(name: str) -> None:
    settings = _signal(name)
    made_up = settings.example()
    assert len(made_up.shape) == len(settings.raw_shape)
    assert all(
        want in (-1, size) for want, size in zip(settings.raw_shape, made_up.shape, strict=True)
    )
    np.testing.assert_array_equal(settings.example(), made_up)
    assert settings.store(made_up).shape == _stored(name, 1)[0].shape
    published = modalities.load(name).Tokenizer()
    published.store(published.example())


@lensed
def test_the_example_shuffled_is_a_recording_too(name: str) -> None:
    """So that a modality without a test of its own can be held to the contracts."""
    rng, draw = np.random.default_rng(0), shuffled(name)
    first, second = (_signal(name).store(draw(rng)) for _ in range(2))
    assert not np.array_equal(first, second)


@lensed
def test_stored_signals_stack_and_leave_the_raw_ones_alone(name: str) -> None:
    given = raws(name, 3)
    kept = copy.deepcopy(given)
    stored = [_signal(name).store(raw) for raw in given]
    assert {s.shape for s in stored} == {stored[0].shape}
    assert {s.dtype for s in stored} <= {np.dtype("float32"), np.dtype("uint8")}
    assert np.isfinite(np.stack(stored).astype(np.float16)).all(), "shards hold floats as fp16"
    for raw, before, signal in zip(given, kept, stored, strict=True):
        np.testing.assert_array_equal(raw, before)
        np.testing.assert_array_equal(_signal(name).store(raw), signal)


@lensed
def test_raw_recordings_that_are_wrong_are_refused(name: str) -> None:
    (raw,) = raws(name, 1)
    wrong: list[Any] = [raw[None], raw[:0], raw.astype(bool), raw.astype(complex), "raw", None]
    if raw.dtype.kind == "f":
        for value in (np.nan, np.inf):
            broken = raw.copy()
            broken.flat[-1] = value
            wrong.append(broken)
    for refused in (*wrong, *example(name).refused):
        with pytest.raises(InputError):
            _signal(name).store(refused)


@lensed
def test_preparation_treats_every_signal_by_itself(name: str) -> None:
    signals = _stored(name)
    before = signals.clone()
    prepared = _signal(name).prepare(signals)
    assert prepared.dtype == torch.float32
    assert prepared.isfinite().all()
    torch.testing.assert_close(_signal(name).prepare(signals.flip(0)), prepared.flip(0))
    torch.testing.assert_close(_signal(name).prepare(signals[2:3]), prepared[2:3])
    assert torch.equal(signals, before)


@lensed
@pytest.mark.parametrize("see", [_prepared, _augmented])
def test_stored_signals_that_are_wrong_are_refused(
    name: str, see: Callable[[Any, Tensor], Tensor]
) -> None:
    signals = _stored(name)
    broken = signals.float()
    broken[0].view(-1)[0] = torch.nan  # of bytes: a float where bytes are expected
    for wrong in (signals[0], signals[..., :-1], signals[None], broken, signals.bool()):
        with pytest.raises(InputError):
            see(_signal(name), wrong)


@lensed
def test_augmentation_is_a_function_of_its_generator(name: str) -> None:
    signals, settings = _stored(name), _signal(name)
    before, state = signals.clone(), torch.get_rng_state()
    augmented = settings.augment(signals, _seeded(0))
    assert torch.equal(settings.augment(signals, _seeded(0)), augmented)
    assert not torch.equal(settings.augment(signals, _seeded(1)), augmented)
    assert torch.equal(signals, before)
    assert torch.equal(torch.get_rng_state(), state)


@lensed
def test_augmented_signals_look_like_prepared_ones(name: str) -> None:
    signals, settings = _stored(name), _signal(name)
    prepared, augmented = settings.prepare(signals), settings.augment(signals, _seeded(0))
    clips = 1 if settings.in_clips else 0  # training may see fewer clips
    assert augmented.shape[1 + clips :] == prepared.shape[1 + clips :]
    assert len(augmented) == len(prepared)
    assert augmented.dtype == torch.float32
    assert augmented.isfinite().all()
    assert not torch.equal(augmented[:, :1], prepared[:, :1])


@lensed
def test_tokens_are_of_the_stated_width(name: str) -> None:
    settings = _signal(name)
    for seen in (settings.prepare(_stored(name)), settings.augment(_stored(name), _seeded(0))):
        tokens = settings.build()(seen.flatten(0, 1) if settings.in_clips else seen)
        assert tokens.ndim == 3
        assert tokens.shape[-1] == settings.width


@lensed
def test_a_towers_embeddings_are_of_unit_norm_and_differ(name: str) -> None:
    embeddings = _tower(name).eval()(_signal(name).prepare(_stored(name)))
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(4))
    assert embeddings.shape == (4, TinyFoundation().embed_dim)
    assert len(embeddings.unique(dim=0)) == 4


@lensed
def test_neither_order_nor_size_of_the_batch_changes_an_embedding(name: str) -> None:
    """Within float32's rounding of differently shaped products."""
    tower, seen = _tower(name).eval(), _signal(name).prepare(_stored(name))
    embeddings = tower(seen)
    torch.testing.assert_close(tower(seen.flip(0)), embeddings.flip(0), atol=1e-5, rtol=0)
    alone = torch.cat([tower(one) for one in seen.split(1)])
    torch.testing.assert_close(alone, embeddings, atol=1e-5, rtol=0)


@lensed
def test_a_tower_takes_all_it_needs_along_to_another_device(name: str) -> None:
    """`meta` stands for a GPU: it computes nothing, and refuses what was left on the CPU."""
    tower = _tower(name).to("meta").train()
    seen = _signal(name).prepare(_stored(name)).to("meta")
    groups = torch.arange(len(seen), device="meta")
    embeddings = tower(seen)
    loss = info_nce(Pairs(embeddings, embeddings.detach(), groups), tower.log_scale.exp())
    loss.backward()
    trained = [p for p in tower.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.is_meta for p in trained)


@lensed
def test_a_tower_learns_from_augmented_signals(name: str) -> None:
    tower = _tower(name).train()
    tower(_signal(name).augment(_stored(name), _seeded(0)))[:, 0].sum().backward()
    gradients = [p.grad for p in tower.tokenizer.parameters() if p.grad is not None]
    assert any(gradient.abs().max() > 0 for gradient in gradients)
    assert all(gradient.isfinite().all() for gradient in gradients)


# --- by the foundation itself ---------------------------------------------------------------


def _encoded_store(name: str, raw: Any) -> Any:
    module = modalities.load(name)
    return module.store(raw) if name == "text" else module.store(raw, SIDE_PX)


@encoded
def test_raw_input_that_is_wrong_is_refused(name: str) -> None:
    for refused in (*example(name).refused, None, 3):
        with pytest.raises(InputError):
            _encoded_store(name, refused)


@encoded
def test_the_foundation_embeds_each_input_by_itself(name: str) -> None:
    module, foundation = modalities.load(name), TinyFoundation()
    stored = [_encoded_store(name, raw) for raw in raws(name, 4)]
    embeddings = module.embed(foundation, stored)
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(4))
    assert len(embeddings.unique(dim=0)) == 4
    alone = torch.cat([module.embed(foundation, [one]) for one in stored[::-1]])
    torch.testing.assert_close(alone, embeddings.flip(0), atol=1e-5, rtol=0)

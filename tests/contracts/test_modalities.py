"""What every modality promises."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.contracts.examples import example, raws, shuffled, tower_settings
from tests.tiny_models import TinyFoundation
from vitlens_core import modalities
from vitlens_core.captions import class_prompts
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.losses.base import Pairs
from vitlens_core.losses.info_nce import info_nce
from vitlens_core.modalities.base import FoundationModality, SignalConfig, TokenizerConfig
from vitlens_core.models.tower import Tower, build_tower
from vitlens_core.row_generator import RowGenerator

EVERY = modalities.names()
LENSED = modalities.lensed()
ENCODED = sorted(set(EVERY) - set(LENSED))
SIDE_PX = TinyFoundation().image_size_px

every = pytest.mark.parametrize("name", EVERY)
lensed = pytest.mark.parametrize("name", LENSED)
encoded = pytest.mark.parametrize("name", ENCODED)


def _signal(name: str) -> SignalConfig:
    return modalities.load_lensed(name).Signal(**example(name).signal)


def _tokenizer(name: str) -> TokenizerConfig[Any]:
    return modalities.load_lensed(name).Tokenizer(**example(name).tokenizer)


def _stored(name: str, count: int = 4, seed: int = 0) -> Tensor:
    """Stored signals [count, …]."""
    return torch.from_numpy(np.stack([_signal(name).store(raw) for raw in raws(name, count, seed)]))


def _prepared(name: str, signals: Tensor) -> Tensor:
    return _tokenizer(name).prepare(signals, _signal(name))


def _augmented(name: str, signals: Tensor, seed: int = 0) -> Tensor:
    generator = RowGenerator.of(str(seed), range(len(signals)))
    return _tokenizer(name).augment(signals, _signal(name), generator)


def _tower(name: str) -> Tower:
    torch.manual_seed(0)
    return build_tower(tower_settings(name), TinyFoundation().trunk)


@every
def test_a_modality_names_itself(name: str) -> None:
    modality = modalities.load(name)
    assert modality.name == name
    assert modality.metric_prefix.isidentifier()
    assert modality.summary.endswith(".")
    assert len(set(modality.templates)) == len(modality.templates)
    assert all("chair" in prompt for prompt in class_prompts("chair", modality.templates))


def test_names_in_metrics_and_in_shards_are_told_apart() -> None:
    assert len({modalities.load(name).metric_prefix for name in EVERY}) == len(EVERY)
    assert len({modalities.load_lensed(name).signal_file for name in LENSED}) == len(LENSED)


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
def test_settings_are_frozen_described_and_spelled_out(name: str) -> None:
    for settings in (_signal(name), _tokenizer(name)):
        schema = type(settings)
        assert schema(**settings.model_dump()) == settings
        with pytest.raises(ValidationError, match="extra_forbidden"):
            schema.model_validate({"smell": 1})
        with pytest.raises(ValidationError, match="frozen"):
            setattr(settings, next(iter(schema.model_fields)), 3)
        assert all(field.description for field in schema.model_fields.values())


_CHECKED_LIGHTLY = """
import sys
from vitlens_core import modalities
from vitlens_core.errors import ConfigError
from vitlens_core.foundation.settings import FitSettings
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.precision import Precision
from vitlens_core.rendering import RenderSettings
for name in modalities.names():
    modalities.load(name)
for name in modalities.lensed():
    TowerSettings.of(name).signal_needed.example()
    try:
        TowerSettings.of(name, tokenizer={"smell": 1})
    except ValueError as error:
        assert "smell" in str(error)
heavy = "torch torchaudio torchvision timm open_clip transformers ray moderngl mlflow dagster"
print(*(set(heavy.split()) & set(sys.modules)))
"""


def test_settings_of_every_modality_are_checked_without_torch() -> None:
    command = [sys.executable, "-c", _CHECKED_LIGHTLY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


@lensed
def test_no_setting_belongs_to_signal_and_tokenizer_both(name: str) -> None:
    modality = modalities.load_lensed(name)
    assert not modality.Signal.model_fields.keys() & modality.Tokenizer.model_fields.keys()


def _other_values(schema: type[BaseModel], settings: BaseModel) -> list[dict[str, Any]]:
    """Settings that differ from those given in one field each."""
    changed = []
    for name, field in schema.model_fields.items():
        value = _another(getattr(settings, name), field)
        changed.append(settings.model_dump() | {name: value})
    return changed


def _another(value: Any, field: FieldInfo) -> Any:
    if isinstance(value, str):
        return next(choice for choice in get_args(field.annotation) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, BaseModel):
        return value.model_dump() | {n: not v for n, v in value if isinstance(v, bool)}
    return value + 1


@lensed
def test_no_setting_of_the_tokenizer_changes_what_is_stored(name: str) -> None:
    """Nor what must be stored for shards; so that no data set is encoded again."""
    (raw,) = raws(name, 1)
    settings = tower_settings(name)
    stored = settings.signal_config.store(raw)
    schema = type(settings.tokenizer_config)
    for changed in _other_values(schema, settings.tokenizer_config):
        other = tower_settings(name, tokenizer=changed)
        assert other.tokenizer != settings.tokenizer
        assert other.signal == settings.signal
        np.testing.assert_array_equal(other.signal_config.store(raw), stored)


@lensed
def test_every_setting_of_the_signal_changes_what_is_stored(name: str) -> None:
    signal = _signal(name)
    stored = [signal.store(raw) for raw in _long_and_short(signal)]
    for changed in _other_values(type(signal), signal):
        other = type(signal)(**changed)
        again = [other.store(raw) for raw in _long_and_short(other)]
        assert not all(map(np.array_equal, again, stored)), changed


def _long_and_short(signal: SignalConfig) -> list[np.ndarray]:
    """The example, and of clips one that is shorter than a clip."""
    example = signal.example()
    return [example, example[:1000]] if signal.in_clips else [example]


@lensed
def test_a_tower_that_sees_part_of_a_signal_embeds_the_rest_alike(name: str) -> None:
    """What a raw recording handed to the tower becomes, and what shards store of it."""
    settings, (raw,) = tower_settings(name), raws(name, 1)
    seen = [
        settings.tokenizer_config.prepare(torch.from_numpy(signal.store(raw))[None], signal)
        for signal in (settings.signal_config, settings.signal_needed)
    ]
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)


@lensed
def test_the_example_is_of_the_stated_shape_and_can_be_stored(name: str) -> None:
    signal = _signal(name)
    made_up = signal.example()
    assert len(made_up.shape) == len(signal.raw_shape)
    assert all(
        want in (-1, size) for want, size in zip(signal.raw_shape, made_up.shape, strict=True)
    )
    np.testing.assert_array_equal(signal.example(), made_up)
    assert signal.store(made_up).shape == _stored(name, 1)[0].shape
    published = modalities.load_lensed(name).Signal()
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
    prepared = _prepared(name, signals)
    assert prepared.dtype == torch.float32
    assert prepared.isfinite().all()
    torch.testing.assert_close(_prepared(name, signals.flip(0)), prepared.flip(0))
    torch.testing.assert_close(_prepared(name, signals[2:3]), prepared[2:3])
    assert torch.equal(signals, before)


@lensed
@pytest.mark.parametrize("see", [_prepared, _augmented])
def test_stored_signals_that_are_wrong_are_refused(
    name: str, see: Callable[[str, Tensor], Tensor]
) -> None:
    signals = _stored(name)
    broken = signals.float()
    broken[0].view(-1)[0] = torch.nan  # of bytes: a float where bytes are expected
    for wrong in (signals[0], signals[..., :-1], signals[None], broken, signals.bool()):
        with pytest.raises(InputError):
            see(name, wrong)


@lensed
def test_augmentation_is_a_function_of_its_generator(name: str) -> None:
    signals = _stored(name)
    before, state = signals.clone(), torch.get_rng_state()
    augmented = _augmented(name, signals)
    assert torch.equal(_augmented(name, signals), augmented)
    assert not torch.equal(_augmented(name, signals, seed=1), augmented)
    assert torch.equal(signals, before)
    assert torch.equal(torch.get_rng_state(), state)


@lensed
def test_a_row_is_augmented_alike_in_any_batch(name: str) -> None:
    """As on other numbers of workers, which divide the rows of a batch otherwise."""
    signals = _stored(name)
    together = _augmented(name, signals)
    for row in range(len(signals)):
        generator = RowGenerator.of("0", [row])
        alone = _tokenizer(name).augment(signals[row : row + 1], _signal(name), generator)
        torch.testing.assert_close(alone, together[row : row + 1])


@lensed
@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, where there is no CUDA
def test_a_batch_on_a_gpu_is_prepared_and_augmented_there(name: str) -> None:
    """On made-up CUDA tensors, which refuse to meet those of the CPU, as real ones do."""
    stored = _stored(name)
    with FakeTensorMode():
        signals = torch.empty(stored.shape, dtype=stored.dtype, device="cuda")
        generator = RowGenerator.of("0", range(len(stored)), "cuda")
        prepared = _prepared(name, signals)
        augmented = _tokenizer(name).augment(signals, _signal(name), generator)
    assert prepared.device.type == augmented.device.type == "cuda"


@lensed
def test_augmented_signals_look_like_prepared_ones(name: str) -> None:
    signals = _stored(name)
    prepared, augmented = _prepared(name, signals), _augmented(name, signals)
    clips = 1 if _signal(name).in_clips else 0  # training may see fewer clips
    assert augmented.shape[1 + clips :] == prepared.shape[1 + clips :]
    assert len(augmented) == len(prepared)
    assert augmented.dtype == torch.float32
    assert augmented.isfinite().all()
    assert not torch.equal(augmented[:, :1], prepared[:, :1])


@lensed
def test_tokens_are_of_the_stated_width(name: str) -> None:
    signal, tokenizer = _signal(name), _tokenizer(name)
    for seen in (_prepared(name, _stored(name)), _augmented(name, _stored(name))):
        tokens = tokenizer.build(signal)(seen.flatten(0, 1) if signal.in_clips else seen)
        assert tokens.ndim == 3
        assert tokens.shape[-1] == tokenizer.width


@lensed
def test_a_towers_embeddings_are_of_unit_norm_and_differ(name: str) -> None:
    embeddings = _tower(name).eval()(_prepared(name, _stored(name)))
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(4))
    assert embeddings.shape == (4, TinyFoundation().embed_dim)
    assert len(embeddings.unique(dim=0)) == 4


@lensed
def test_neither_order_nor_size_of_the_batch_changes_an_embedding(name: str) -> None:
    """Within float32's rounding of differently shaped products."""
    tower, seen = _tower(name).eval(), _prepared(name, _stored(name))
    embeddings = tower(seen)
    torch.testing.assert_close(tower(seen.flip(0)), embeddings.flip(0), atol=1e-5, rtol=0)
    alone = torch.cat([tower(one) for one in seen.split(1)])
    torch.testing.assert_close(alone, embeddings, atol=1e-5, rtol=0)


@lensed
def test_a_tower_takes_all_it_needs_along_to_another_device(name: str) -> None:
    """`meta` stands for a GPU: it computes nothing, and refuses what was left on the CPU."""
    tower = _tower(name).to("meta").train()
    seen = _prepared(name, _stored(name)).to("meta")
    label_ids = torch.arange(len(seen), device="meta")
    embeddings = tower(seen)
    loss = info_nce(Pairs(embeddings, embeddings.detach(), label_ids), tower.log_scale.exp())
    loss.backward()
    trained = [p for p in tower.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.is_meta for p in trained)


@lensed
def test_a_tower_learns_from_augmented_signals(name: str) -> None:
    tower = _tower(name).train()
    tower(_augmented(name, _stored(name)))[:, 0].sum().backward()
    gradients = [p.grad for p in tower.tokenizer.parameters() if p.grad is not None]
    assert any(gradient.abs().max() > 0 for gradient in gradients)
    assert all(gradient.isfinite().all() for gradient in gradients)


# --- rendered objects -------------------------------------------------------------------------


class _Rendered:
    """Two views of a made-up object of 64 points."""

    points = np.random.default_rng(0).random((64, 6)).astype(np.float16)
    rgba = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 4), dtype=np.uint8)
    depth_m = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32) + 0.5
    focal_px = 30.0


@lensed
def test_a_rendered_object_gives_stored_signals_or_is_refused(name: str) -> None:
    modality, signal = modalities.load_lensed(name), _signal(name)
    if modality.renders_as is None:
        with pytest.raises(ConfigError, match=f"rendered objects have no {name}"):
            modality.from_render(signal, _Rendered())
        return
    found = modality.from_render(signal, _Rendered())
    assert len(found) == {"object": 1, "view": 2}[modality.renders_as]
    assert found.shape[1:] == _stored(name, 1).shape[1:]
    assert _prepared(name, torch.from_numpy(found)).isfinite().all()


# --- by the foundation itself ---------------------------------------------------------------


def _encoded(name: str) -> FoundationModality[Any, Any]:
    modality = modalities.load(name)
    assert isinstance(modality, FoundationModality)
    return modality


@encoded
def test_raw_input_that_is_wrong_is_refused(name: str) -> None:
    for refused in (*example(name).refused, None, 3):
        with pytest.raises(InputError):
            _encoded(name).store(refused, SIDE_PX)


@encoded
def test_the_foundation_embeds_each_input_by_itself(name: str) -> None:
    modality, foundation = _encoded(name), TinyFoundation()
    stored = [modality.store(raw, SIDE_PX) for raw in raws(name, 4)]
    embeddings = modality.embed(foundation, stored)
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(4))
    assert len(embeddings.unique(dim=0)) == 4
    alone = torch.cat([modality.embed(foundation, [one]) for one in stored[::-1]])
    torch.testing.assert_close(alone, embeddings.flip(0), atol=1e-5, rtol=0)

"""What a trained head promises, on every modality's tower: ImageBind's linear layer and MLP."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

import vitlens_core
from tests.contracts.examples import raws, tower_settings
from tests.tiny_models import TinyFoundation
from vitlens_core import modalities
from vitlens_core.checkpoint import encode_lens, load_lens
from vitlens_core.errors import CheckpointError
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.lens_header import read_settings
from vitlens_core.models.tower import Tower, build_tower
from vitlens_core.models.tower_settings import TowerSettings

TENSORS = {
    "linear": {"head.norm.weight", "head.norm.bias", "head.projection.weight"},
    "mlp": {"head.norm.weight", "head.norm.bias", "head.projection.weight"}
    | {"head.hidden.weight", "head.hidden.bias"},
}
lensed = pytest.mark.parametrize("name", modalities.lensed())
trained = pytest.mark.parametrize("head", sorted(TENSORS))


def _settings(name: str, head: str) -> TowerSettings:
    return tower_settings(name, head=head)


def _tower(settings: TowerSettings, seed: int = 0) -> Tower:
    torch.manual_seed(seed)
    return build_tower(settings, TinyFoundation().trunk)


def _seen(settings: TowerSettings, count: int = 4) -> Tensor:
    signal = settings.signal_config
    stored = [signal.store(raw) for raw in raws(settings.modality, count)]
    return settings.tokenizer_config.prepare(torch.from_numpy(np.stack(stored)), signal)


def _write(path: Path, settings: TowerSettings, foundation: TinyFoundation) -> Path:
    tower = _tower(settings)
    path.write_bytes(
        encode_lens(tower.trained_state(), settings, foundation.spec, foundation.digest())
    )
    return path


@lensed
@trained
def test_embeddings_are_of_unit_norm_and_lie_in_the_foundations_space(name: str, head: str) -> None:
    settings = _settings(name, head)
    embeddings = _tower(settings).eval()(_seen(settings))
    assert embeddings.shape == (4, TinyFoundation().embed_dim)
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(4))
    assert len(embeddings.unique(dim=0)) == 4


@lensed
@trained
def test_the_head_is_trained_and_stored_and_the_projection_is_not(name: str, head: str) -> None:
    tower, frozen = _tower(_settings(name, head)), _tower(_settings(name, "frozen"))
    assert set(tower.trained_state()) - set(frozen.trained_state()) == TENSORS[head]
    assert set(frozen.trained_state()) <= set(tower.trained_state())
    settings = _settings(name, head)
    tower.train()(_seen(settings))[:, 0].sum().backward()
    gradients = {n: p.grad for n, p in tower.named_parameters() if n.startswith("head.")}
    assert gradients.keys() == TENSORS[head]
    assert all(g is not None and g.abs().max() > 0 for g in gradients.values())


@lensed
@trained
def test_a_lens_with_a_head_loads_as_it_was(name: str, head: str, tmp_path: Path) -> None:
    foundation, settings = TinyFoundation(), _settings(name, head)
    path = _write(tmp_path / "lens.safetensors", settings, foundation)
    tower, found = load_lens(path, foundation)
    assert found == settings
    seen = _seen(settings)
    with torch.no_grad():
        expected = _tower(settings).eval()(seen)
        torch.testing.assert_close(tower(seen), expected, rtol=0, atol=0)
    model = vitlens_core.load(path, foundation=foundation)
    encoded = model.encode({name: raws(name, 4)})[name]
    torch.testing.assert_close(encoded, expected, rtol=0, atol=1e-5)


@trained
def test_weights_of_another_head_are_refused_by_name(head: str) -> None:
    other = "mlp" if head == "linear" else "linear"
    state = _tower(_settings("thermal", other)).trained_state()
    with pytest.raises(CheckpointError, match=r"head\.(hidden|projection)"):
        _tower(_settings("thermal", head)).load_trained_state(state)


def test_a_lens_without_a_head_says_so_and_stores_none(tmp_path: Path) -> None:
    settings = _settings("thermal", "frozen")
    assert json.loads(settings.model_dump_json())["head"] == "frozen"
    assert not any("head" in name for name in _tower(settings).state_dict())
    path = _write(tmp_path / "lens.safetensors", settings, TinyFoundation())
    assert read_settings(path)[0].head == "frozen"


def test_a_head_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValidationError, match="'frozen', 'linear' or 'mlp'"):
        _settings("thermal", "conv")


@trained
def test_a_head_stands_on_a_lit_foundation_too(head: str, tiny_lit: str) -> None:
    foundation = load_foundation(tiny_lit, 8, 32)
    assert isinstance(foundation, LitFoundation)
    before = foundation.digest()
    patches = {"patch_px": 16, "width": foundation.trunk.width}
    settings = TowerSettings.of("thermal", signal={"side_px": 32}, tokenizer=patches, head=head)
    tower = build_tower(settings, foundation.trunk)
    features = foundation.projections.image.in_features
    assert tower.trained_state()["head.norm.weight"].shape == (features,)
    assert tower(_seen(settings)).shape == (4, foundation.embed_dim)
    assert foundation.digest() == before

"""A lens in the hub's conventions: saved, loaded elsewhere, the same embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import vitlens_core
from tests.tiny_models import stored_clouds, tiny_tower, tower_settings
from vitlens_core.checkpoint import encode_lens
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.base import Foundation

CLOUDS = list(stored_clouds(3).float().numpy())


@pytest.fixture(scope="module")
def foundation(tiny_lit: str) -> Foundation:
    torch.manual_seed(1)
    return load_foundation(tiny_lit, embed_dim=8, image_size_px=224)


@pytest.fixture(scope="module")
def lens(tmp_path_factory: pytest.TempPathFactory, foundation: Foundation) -> Path:
    folder = tmp_path_factory.mktemp("lens")
    tower = tiny_tower(foundation)
    data = encode_lens(
        tower.trained_state(), tower_settings(), foundation.spec, foundation.digest()
    )
    (folder / "lens.safetensors").write_bytes(data)
    (folder / "README.md").write_text("# The card of the lens\n")
    (folder / "calibration.json").write_text(json.dumps({"temperature": 0.25, "n": 9}))
    return folder / "lens.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, lens: Path, foundation: Foundation) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "vitlens-point_cloud"
    vitlens_core.load(lens, foundation=foundation).save_pretrained(folder)
    return folder


def test_a_lens_without_a_card_gets_one_without_gaps(
    tmp_path: Path, lens: Path, foundation: Foundation
) -> None:
    (tmp_path / "lens.safetensors").write_bytes(lens.read_bytes())
    model = vitlens_core.load(tmp_path / "lens.safetensors", foundation=foundation)
    model.save_pretrained(tmp_path / "saved")
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "# A lens for point_cloud" in card
    assert "More Information Needed" not in card


def test_the_folder_is_config_safetensors_and_card(saved: Path, lens: Path) -> None:
    found = {path.name for path in saved.iterdir()}
    assert found == {
        "config.json",
        "model.safetensors",
        "projections.safetensors",
        "README.md",
    }
    config = json.loads((saved / "config.json").read_text())
    assert (config["model_type"], config["modality"]) == ("vitlens", "point_cloud")
    assert config["calibration"] == {"temperature": 0.25, "n": 9}
    assert (saved / "README.md").read_text() == "# The card of the lens\n"
    # The frozen trunk is not among them.
    assert load_file(saved / "model.safetensors").keys() == load_file(lens).keys()


def test_what_is_loaded_again_embeds_alike(saved: Path, lens: Path, foundation: Foundation) -> None:
    inputs = {"point_cloud": CLOUDS, "text": ["a chair"]}
    expected = vitlens_core.load(lens, foundation=foundation).encode(inputs)
    for found in (vitlens_core.Model.from_pretrained(saved), vitlens_core.load(saved)):
        for name, embeddings in found.encode(inputs).items():
            torch.testing.assert_close(embeddings, expected[name], atol=0, rtol=0)


def test_saving_what_was_saved_writes_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    vitlens_core.Model.from_pretrained(saved).save_pretrained(again)
    for path in saved.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_fitted_temperature_makes_the_probabilities(saved: Path) -> None:
    model = vitlens_core.load(saved)
    assert model.calibrated(torch.zeros(1, 2)).temperature == 0.25


def test_options_of_loading_are_handed_on(saved: Path) -> None:
    assert vitlens_core.Model.from_pretrained(saved, modalities=["text"]).modalities == ["text"]


def test_only_a_single_lens_is_saved(saved: Path, tmp_path: Path) -> None:
    model = vitlens_core.load(saved)
    model._origin = None  # as after loading a published checkpoint
    with pytest.raises(ConfigError, match="save_pretrained writes one lens"):
        model.save_pretrained(tmp_path / "none")


def test_a_lit_foundation_needs_its_projections(saved: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "model.safetensors"):
        (broken / name).write_bytes((saved / name).read_bytes())
    with pytest.raises(CheckpointError, match="lacks projections"):
        vitlens_core.load(broken)

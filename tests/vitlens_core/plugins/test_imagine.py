"""Decoders on tiny pipelines in the published format: conditioning arrives, and only its own."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vitlens_core
from tests import tiny_diffusers, tiny_hf
from tests.tiny_models import tower_settings
from vitlens_core.api import Model
from vitlens_core.checkpoint import encode_lens
from vitlens_core.errors import CheckpointError, ConfigError, InputError
from vitlens_core.foundation import load_foundation
from vitlens_core.models.tower import build_tower
from vitlens_core.plugins.imagine import Decoder, ImageStatistics
from vitlens_core.plugins.imagine.table import TABLE, kind_of

KINDS = ("unclip", "kandinsky", "ip-adapter")
PICTURES = [np.asarray(picture) for picture in tiny_hf.pictures(4)]
SMALL: dict[str, Any] = {"steps": 2, "height": 64, "width": 64}
Opened = tuple[Model, Decoder, ImageStatistics]


def _cloud(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(50, 3)), rng.random((50, 3))], 1).astype(np.float32)


def _written(kind: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """A decoder's image encoder, and how it is opened."""
    if kind == "unclip":
        return tiny_diffusers.write_unclip(folder) / "image_encoder", {}
    if kind == "kandinsky":
        tiny_diffusers.write_kandinsky(folder)
        encoder = tiny_hf.write("clip_vision_model", folder.with_name("encoder"))
        return encoder, {"encoder": encoder}
    _, adapter = tiny_diffusers.write_stable_diffusion(folder)
    return folder / "image_encoder", {"adapter": adapter}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Opened]:
    @cache
    def make(kind: str) -> Opened:
        folder = tmp_path_factory.mktemp(kind) / "decoder"
        encoder, options = _written(kind, folder)
        foundation = load_foundation(f"hf:{encoder}")
        settings, lens = tower_settings(), folder.with_name("lens.safetensors")
        state = build_tower(settings, foundation.trunk).trained_state()
        lens.write_bytes(encode_lens(state, settings, foundation.spec, foundation.digest()))
        model = vitlens_core.load(lens)
        clouds = [_cloud(seed) for seed in range(4)]
        statistics = model.image_statistics(PICTURES, {"point_cloud": clouds})
        return model, model.decoder(folder, **options), statistics

    return make


def _pixels(pictures: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(picture).astype(int) for picture in pictures])


@pytest.mark.parametrize("kind", KINDS)
def test_another_signal_gives_another_picture_and_the_same_signal_the_same(kind, opened):
    model, by, statistics = opened(kind)
    drawn = [
        _pixels(model.imagine({"point_cloud": _cloud(seed)}, by=by, statistics=statistics, **SMALL))
        for seed in (0, 1, 0)
    ]
    assert drawn[0].shape == (1, 64, 64, 3)
    assert np.array_equal(drawn[0], drawn[2])
    other = model.imagine({"image": PICTURES[0]}, by=by, statistics=statistics, **SMALL)
    assert not np.array_equal(drawn[0], _pixels(other))


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_given_the_very_embedding(kind, opened):
    """An image's embedding arrives as its own encoder gives it, not normalised."""
    model, by, statistics = opened(kind)
    seen: list[torch.Tensor] = []

    def note(module: Any, given: tuple[torch.Tensor, ...]) -> None:
        seen.append(given[0])

    unet = by.pipe.unet
    layer = {
        "unclip": lambda: unet.class_embedding,
        "kandinsky": lambda: unet.encoder_hid_proj,
        "ip-adapter": lambda: unet.encoder_hid_proj.image_projection_layers[0],
    }[kind]()
    handle = layer.register_forward_pre_hook(note)
    source = model.token_source("image")
    own = source.trunk(source.inputs(model.stored("image", PICTURES[0])))
    by.draw(own, statistics.empty, **SMALL)
    handle.remove()
    given = seen[0].flatten(0, -2)[-1][: by.embed_dim]
    # unCLIP adds noise of level 0, which keeps all but a thousandth of the embedding.
    tolerance = 0.2 if kind == "unclip" else 1e-5
    assert (given - own[0]).norm() / own[0].norm() < tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_another_foundation_is_refused_before_anything_is_loaded(kind, opened, tmp_path):
    _, by, _ = opened(kind)
    other = tiny_hf.write("clip_vision_model", tmp_path / "other", seed=1)
    model = vitlens_core.load(foundation=f"hf:{other}")
    options: dict[str, Any] = {}
    if kind == "kandinsky":
        options["encoder"] = Path(by.source).with_name("encoder")
    with pytest.raises(CheckpointError, match="another vision tower"):
        model.decoder(by.source, **options)


def test_a_decoder_without_an_encoder_must_be_told_which(opened):
    model, by, _ = opened("kandinsky")
    with pytest.raises(ConfigError, match="name the encoder that it was trained with"):
        model.decoder(by.source)


def test_a_foundation_of_another_kind_is_refused_with_the_one_that_is_needed(
    tiny_open_clip, opened, tmp_path
):
    model = vitlens_core.load(foundation=tiny_open_clip)
    for row in TABLE:
        source, encoder = row.decoder, None
        if row.kind == "ip-adapter":  # it is put onto Stable Diffusion, here without an encoder
            (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
            source, encoder = str(tmp_path), row.decoder
        with pytest.raises(CheckpointError, match=f"was trained with {row.foundations[0]}"):
            model.decoder(source, encoder=encoder)
    with pytest.raises(CheckpointError, match="was trained with hf:"):
        model.decoder(opened("unclip")[1].source)


def test_other_pipelines_and_missing_adapters_are_refused(opened, tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(ConfigError, match="FluxPipeline, which takes no image embeddings"):
        kind_of(str(tmp_path))
    model, by, _ = opened("ip-adapter")
    with pytest.raises(ConfigError, match=r"name its \.safetensors file"):
        model.decoder(by.source)


def test_embeddings_of_another_width_are_refused(opened):
    _, by, statistics = opened("unclip")
    with pytest.raises(InputError, match=r"takes embeddings \[B, 10\], found \[1, 7\]"):
        by.draw(torch.ones(1, 7), statistics.empty)
    with pytest.raises(InputError, match="not finite"):
        by.draw(torch.full((1, 10), float("nan")), statistics.empty)


def test_statistics_move_a_modality_to_the_images_and_give_it_their_length(opened, tmp_path):
    model, _, statistics = opened("unclip")
    clouds = model.encode({"point_cloud": [_cloud(seed) for seed in range(4)]})["point_cloud"]
    moved = statistics.corrected(clouds, "point_cloud")
    assert moved.norm(dim=-1).tolist() == pytest.approx([statistics.norm] * 4, rel=1e-5)

    def gap(vectors: torch.Tensor) -> float:
        return float((vectors.mean(0) - statistics.means["image"]).norm())

    assert gap(moved / statistics.norm) < gap(clouds)
    still = statistics.corrected(clouds, "point_cloud", strength=0.0)
    torch.testing.assert_close(still, clouds * statistics.norm)
    statistics.save(tmp_path / "statistics.safetensors")
    trunk = model.token_source("image").trunk
    again = ImageStatistics.load(tmp_path / "statistics.safetensors", trunk)
    torch.testing.assert_close(again.corrected(clouds, "point_cloud"), moved)
    other = load_foundation(f"hf:{tiny_hf.write('clip_vision_model', tmp_path / 'o', seed=1)}")
    with pytest.raises(CheckpointError, match="measured on another foundation"):
        ImageStatistics.load(tmp_path / "statistics.safetensors", other.trunk)


def test_weights_draw_something_between(opened):
    model, by, statistics = opened("ip-adapter")
    both = {"point_cloud": _cloud(0), "image": PICTURES[0]}
    options: dict[str, Any] = {"by": by, "statistics": statistics, **SMALL}
    half = _pixels(model.imagine(both, weights={"point_cloud": 0.5, "image": 1.0}, **options))
    none = _pixels(model.imagine(both, weights={"point_cloud": 0.0, "image": 1.0}, **options))
    alone = _pixels(model.imagine({"image": PICTURES[0]}, **options))
    assert np.array_equal(none, alone)
    assert not np.array_equal(half, alone)


def test_retrieval_finds_the_picture_itself(opened, tmp_path):
    model, _, _ = opened("unclip")
    files = []
    for number, picture in enumerate(PICTURES):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(files[-1])
    found = model.retrieve({"image": PICTURES[2]}, files, count=2, trusted=False)
    assert found[0][0][0] == files[2]
    assert found[0][0][1] == pytest.approx(1.0, abs=1e-5)
    assert found[0][0][1] >= found[0][1][1]

"""`hf:` on tiny models in the published format: the tower taken out gives what the model gives."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests import tiny_hf
from tests.tiny_models import stored_clouds, tower_settings
from vitlens_core.checkpoint import encode_lens, load_lens
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation import check_foundation, load_foundation
from vitlens_core.models.tower import build_tower

KINDS = sorted(tiny_hf.MODELS)
DUAL = ("clip", "siglip", "owlvit", "owlv2")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return cache(lambda kind: tiny_hf.write(kind, tmp_path_factory.mktemp("hf") / kind))


def _model(kind: str, folder: Path) -> Any:
    """The whole model as transformers itself loads it."""
    return type(tiny_hf.MODELS[kind]()[0]).from_pretrained(folder).eval()


def _image_embedding(kind: str, model: Any, pixels: torch.Tensor) -> torch.Tensor:
    if kind in ("clip", "siglip"):
        return model.get_image_features(pixels)
    if kind in ("owlvit", "owlv2"):
        return getattr(model, kind).get_image_features(pixels)
    if kind == "clip_vision_model":
        return model(pixels).image_embeds
    if kind == "llava":
        return model.vision_tower(pixels).pooler_output
    if kind.startswith("qwen"):
        return _qwen_embedding(model, pixels)
    return model.vision_model(pixels).pooler_output


def _qwen_embedding(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Through Qwen's own processor, which cuts the patches; the mean of what its merger norms."""
    cutter = transformers.Qwen2VLImageProcessor(
        patch_size=4, do_resize=False, do_rescale=False, do_normalize=False, merge_size=2
    )
    cut = cutter(list(pixels), return_tensors="pt")
    seen: list[torch.Tensor] = []
    merger = model.visual.merger
    norm = merger.norm if hasattr(merger, "norm") else merger.ln_q
    handle = norm.register_forward_hook(lambda m, i, o: seen.append(o))
    model.visual(cut["pixel_values"].float(), cut["image_grid_thw"])
    handle.remove()
    return seen[0].unflatten(0, (len(pixels), -1)).mean(1)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_embedded_as_the_model_does(kind, written):
    foundation, model = load_foundation(f"hf:{written(kind)}"), _model(kind, written(kind))
    size = foundation.image_size_px
    images = tiny_hf.pictures(3).repeat(1, size // 16, size // 16, 1)
    pixels = foundation.preprocess(images)
    with torch.inference_mode():
        found = foundation.trunk(foundation.image_tokens(pixels))
        expected = _image_embedding(kind, model, pixels)
    assert found.shape == (3, foundation.embed_dim)
    # Fused and eager attention differ by rounding.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert expected.std(0).max() > 1e-3, "images differ, or the comparison says nothing"


@pytest.mark.parametrize("kind", DUAL)
def test_a_text_is_embedded_as_the_model_does(kind, written):
    foundation, model = load_foundation(f"hf:{written(kind)}"), _model(kind, written(kind))
    texts = ["a chair", "a lamp, what is it used for?"]
    length = {"clip": 77, "siglip": 64}.get(kind, 16)
    words = transformers.AutoTokenizer.from_pretrained(written(kind))
    batch = words(texts, padding="max_length", max_length=length, truncation=True,
                  return_tensors="pt")  # fmt: skip
    asked = {"input_ids": batch["input_ids"]}
    if kind != "siglip":  # its published models see their padding
        asked["attention_mask"] = batch["attention_mask"]
    with torch.inference_mode():
        expected = getattr(model, kind, model).get_text_features(**asked)
        found = foundation.text_embeddings(texts)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert foundation.logit_scale == pytest.approx(
        getattr(model, kind, model).logit_scale.exp().item(), rel=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_lens_trains_into_it_and_fits_it_again(kind, written, tmp_path):
    spec = f"hf:{written(kind)}#vision"
    foundation = load_foundation(spec)
    # 4 latents: a square that Qwen's merger can take.
    settings = tower_settings()
    tower = build_tower(settings, foundation.trunk)
    signal = settings.tokenizer_config.prepare(stored_clouds(2), settings.signal_config)
    tower(signal).sum().backward()
    grads = [p.grad for p in tower.lens.parameters() if p.grad is not None]
    assert grads
    assert any(g.abs().sum() > 0 for g in grads)
    lens = tmp_path / "lens.safetensors"
    lens.write_bytes(encode_lens(tower.trained_state(), settings, spec, foundation.digest()))
    again, _ = load_lens(lens, load_foundation(spec))
    assert torch.equal(again(signal), tower.eval()(signal))


@pytest.mark.parametrize("kind", KINDS)
def test_the_digest_is_of_the_weights(kind, written, tmp_path):
    spec = f"hf:{written(kind)}"
    assert load_foundation(spec).digest() == load_foundation(spec).digest()
    other = tiny_hf.write(kind, tmp_path / "other", seed=1)
    assert load_foundation(spec).digest() != load_foundation(f"hf:{other}").digest()


def test_the_names_under_which_llava_was_first_published_are_read(written, tmp_path):
    folder = tiny_hf.write("llava", tmp_path / "llava")
    weights = load_file(folder / "model.safetensors")
    newer = {f"model.{n}" if n.startswith("vision") else n: t for n, t in weights.items()}
    assert newer.keys() != weights.keys()
    save_file(newer, folder / "model.safetensors", {"format": "pt"})
    assert load_foundation(f"hf:{folder}").digest() == (
        load_foundation(f"hf:{written('llava')}").digest()
    )


def test_a_model_without_a_text_tower_offers_no_text(written):
    foundation = load_foundation(f"hf:{written('instructblip')}")
    assert not foundation.has_text
    with pytest.raises(ConfigError, match="has no text tower"):
        foundation.encode_text(["a chair"])
    with pytest.raises(ConfigError, match="ask for #vision"):
        load_foundation(f"hf:{written('instructblip')}#both")
    assert load_foundation(f"hf:{written('clip')}").has_text
    assert not load_foundation(f"hf:{written('clip')}#vision").has_text


def _without(folder: Path, name: str) -> None:
    (folder / name).unlink()


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    _without(folder, "model.safetensors")


def _one_tensor_less(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _of_text_only(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))


def _with_a_torn_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')


def _with_torn_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x00" * 20)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda folder: _without(folder, "config.json"), ConfigError, "no config.json"),
        (_pickled, ConfigError, "Pickled weights are not read"),
        (_one_tensor_less, CheckpointError, "visual_projection"),
        (_of_text_only, ConfigError, "unknown type of model 'llama'"),
        (_with_a_torn_index, CheckpointError, "no index of weights"),
        (_with_torn_weights, CheckpointError, "not a safetensors file"),
        (lambda folder: _without(folder, "preprocessor_config.json"), ConfigError, "image_mean"),
        (lambda folder: _without(folder, "tokenizer.json"), ConfigError, "tokenizer cannot"),
    ],
)
def test_a_folder_that_lacks_something_is_refused(spoil, error, message, tmp_path):
    folder = tiny_hf.write("clip", tmp_path / "clip")
    spoil(folder)
    with pytest.raises(error, match=message):
        load_foundation(f"hf:{folder}")


@pytest.mark.parametrize("spec", ["hf:", "hf:no-such-folder", "hf:a/b/c", "hf:a/b#text"])
def test_a_mistake_in_a_spec_is_told_the_form(spec):
    with pytest.raises(ConfigError, match=r"expected hf:<model|owner/name"):
        check_foundation(spec)

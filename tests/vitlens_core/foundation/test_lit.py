"""`lit:` foundations: frozen towers as their libraries compute them, and the fit between them."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.lit import (
    LitFoundation,
    Projections,
    SentenceEncoder,
    fit_projections,
)
from vitlens_core.foundation.settings import FitSettings
from vitlens_core.losses.base import MAX_LOG_SCALE

QUICK = FitSettings(steps=80, batch_size=16, learning_rate=3e-2, dropout=0.1)


def _load(spec: str) -> LitFoundation:
    foundation = load_foundation(spec, embed_dim=8, image_size_px=32)
    assert isinstance(foundation, LitFoundation)
    return foundation


@pytest.fixture(scope="module")
def foundation(tiny_lit: str) -> LitFoundation:
    torch.manual_seed(0)
    return _load(tiny_lit)


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (2, 32, 32, 3), generator=generator, dtype=torch.uint8)


def test_image_features_are_those_of_timm(
    foundation: LitFoundation, tiny_lit: str, images: torch.Tensor
) -> None:
    weights = tiny_lit.partition(".")[2].partition("+")[0]
    vit: Any = timm.create_model("vit_tiny_patch16_224", checkpoint_path=weights, num_classes=0)
    vit.set_input_size(img_size=32)
    with torch.inference_mode():
        pixels = foundation.preprocess(images)
        layers = vit.eval().get_intermediate_layers(
            pixels, n=2, return_prefix_tokens=True, norm=True
        )
    parts = [part for patches, cls in layers for part in (cls[:, 0], patches.mean(1))]
    expected = F.normalize(torch.cat(parts, dim=-1), dim=-1)
    torch.testing.assert_close(foundation.image_features(images), expected, atol=1e-5, rtol=0)


def test_projected_features_are_the_embeddings(
    foundation: LitFoundation, images: torch.Tensor
) -> None:
    texts = ["a red chair", "a lamp"]
    image = foundation.project_images(foundation.image_features(images))
    text = foundation.project_texts(foundation.text_features(texts))
    torch.testing.assert_close(image, foundation.encode_image(images))
    torch.testing.assert_close(text, foundation.encode_text(texts))


def test_a_sentence_is_embedded_alike_alone_and_beside_a_longer_one(tiny_lit: str) -> None:
    encoder = SentenceEncoder(Path(tiny_lit.partition("+")[2])).eval()
    with torch.inference_mode():
        alone = encoder(["a red chair"])
        beside = encoder(["a red chair", "a photo of the big blue car , the lamp of a model"])[:1]
    torch.testing.assert_close(alone, beside, atol=1e-6, rtol=0)
    torch.testing.assert_close(alone.norm(dim=-1), torch.ones(1))


def test_long_text_is_cut(tiny_lit: str) -> None:
    encoder = SentenceEncoder(Path(tiny_lit.partition("+")[2]), max_tokens=5).eval()
    with torch.inference_mode():
        first, second = encoder(["a red chair big", "a red chair small lamp"])
    torch.testing.assert_close(first, second)


def _fitted(settings: FitSettings = QUICK) -> tuple[Projections, list[float]]:
    """Four objects of three views and two captions, each with a direction of its own."""
    projections, losses = Projections(6, 5, 4), []  # random weights, others each time
    draw = torch.Generator().manual_seed(0)
    image = torch.eye(4, 6)[:, None] + 0.1 * torch.randn(4, 3, 6, generator=draw)
    image = F.normalize(image, dim=-1)
    owners = torch.arange(4).repeat_interleave(2)
    text = torch.eye(4, 5)[owners] + 0.1 * torch.randn(8, 5, generator=draw)
    text = F.normalize(text, dim=-1)
    state = torch.get_rng_state()
    fit_projections(
        projections, image, text, owners, settings, on_step=lambda step, loss: losses.append(loss)
    )
    assert torch.equal(torch.get_rng_state(), state)
    return projections, losses


def test_the_fit_brings_captions_to_their_objects() -> None:
    projections, losses = _fitted()
    assert len(losses) == QUICK.steps
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    images, texts = projections.image(torch.eye(4, 6)), projections.text(torch.eye(4, 5))
    similarities = F.normalize(texts, dim=-1) @ F.normalize(images, dim=-1).T
    assert similarities.argmax(1).tolist() == [0, 1, 2, 3]


def test_the_fit_is_a_function_of_its_seed_and_leaves_no_trace() -> None:
    first, losses = _fitted()
    second, _ = _fitted()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    _, others = _fitted(QUICK.model_copy(update={"seed": 1}))
    assert losses != others


def test_the_logit_scale_stays_within_clips_bound() -> None:
    projections, _ = _fitted(QUICK.model_copy(update={"learning_rate": 1.0}))
    assert projections.log_scale.item() <= MAX_LOG_SCALE + 1e-6


def test_projections_of_another_width_are_refused(foundation: LitFoundation) -> None:
    state = Projections(6, 5, 8).state_dict()
    with pytest.raises(CheckpointError, match="projections do not fit lit:"):
        foundation.load_projections(state)
    with pytest.raises(CheckpointError, match="log_scale"):
        foundation.load_projections({})


def test_projections_decide_the_digest(tiny_lit: str) -> None:
    first, second = _load(tiny_lit), _load(tiny_lit)
    assert first.digest() != second.digest()
    second.load_projections(first.projections.state_dict())
    assert first.digest() == second.digest()


@pytest.mark.parametrize("size_px", [40, 8])
def test_images_that_are_no_whole_patches_are_refused(tiny_lit: str, size_px: int) -> None:
    with pytest.raises(ConfigError, match="multiple of 16"):
        load_foundation(tiny_lit, image_size_px=size_px)


def test_weights_of_another_model_are_refused(tiny_lit: str, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"cls_token": torch.zeros(1, 1, 192)}, other)
    text = tiny_lit.partition("+")[2]
    with pytest.raises(ConfigError, match=r"other\.safetensors"):
        load_foundation(f"lit:vit_tiny_patch16_224.{other}+{text}")


def test_a_tag_that_cannot_be_downloaded_is_refused(
    tiny_lit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    text = tiny_lit.partition("+")[2]
    with pytest.raises(ConfigError, match="without a connection, give a checkpoint file"):
        load_foundation(f"lit:vit_tiny_patch16_224.augreg_in21k+{text}")


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_code_in_a_text_folder_is_never_run(
    tiny_lit: str, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, touched = tmp_path / "sentences", tmp_path / "touched"
    shutil.copytree(tiny_lit.partition("+")[2], folder)
    code = f"from pathlib import Path\nPath({str(touched)!r}).touch()\nclass Own: pass\n"
    (folder / "own.py").write_text(code)
    config = folder / where
    stated = json.loads(config.read_text()) if config.is_file() else {}
    own = {"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoTokenizer": ["own.Own", None]}
    config.write_text(json.dumps(stated | {"auto_map": own, "model_type": "own"}))
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks, and is answered
    with suppress(ValueError, OSError, KeyError):
        SentenceEncoder(folder)
    assert not touched.exists()


def test_pickled_weights_of_a_text_folder_are_refused(tiny_lit: str, tmp_path: Path) -> None:
    folder = tmp_path / "sentences"
    shutil.copytree(tiny_lit.partition("+")[2], folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        SentenceEncoder(folder)

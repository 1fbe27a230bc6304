"""`open_clip:` on a tiny model of the real library, its weights in a file."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from vitlens_core.errors import ConfigError
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.base import Foundation

NAME = "vitlens-tiny"


@pytest.fixture(scope="module")
def weights(tiny_open_clip: str) -> Path:
    return Path(tiny_open_clip.removeprefix(f"open_clip:{NAME}/"))


@pytest.fixture(scope="module")
def foundation(weights: Path) -> Foundation:
    return load_foundation(f"open_clip:{NAME}/{weights}")


@pytest.fixture(scope="module")
def published(weights: Path) -> Any:
    return open_clip.create_model(NAME, pretrained=str(weights)).eval()


def test_images_are_embedded_as_open_clip_does(foundation: Foundation, published: Any) -> None:
    images = torch.randint(256, (3, 32, 32, 3), dtype=torch.uint8)
    pixels = foundation.preprocess(images)
    with torch.inference_mode():
        expected = published.encode_image(pixels, normalize=True)
    torch.testing.assert_close(foundation.encode_image(images), expected, atol=1e-5, rtol=0)
    tokens = foundation.image_tokens(pixels)
    embedded = torch.nn.functional.normalize(foundation.trunk(tokens), dim=-1)
    torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=0)


def test_texts_are_embedded_as_open_clip_does(foundation: Foundation, published: Any) -> None:
    texts = ["a chair", "a lamp " * 30]
    with torch.inference_mode():
        ids = open_clip.get_tokenizer(NAME)(texts)
        expected = published.encode_text(ids, normalize=True)
    torch.testing.assert_close(foundation.encode_text(texts), expected, atol=1e-5, rtol=0)


def test_its_sizes_and_scale_are_those_of_the_model(foundation: Foundation, published: Any) -> None:
    assert (foundation.embed_dim, foundation.image_size_px, foundation.trunk.width) == (12, 32, 24)
    assert foundation.logit_scale == pytest.approx(published.logit_scale.exp().item())
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    assert foundation.mean.flatten().tolist() == pytest.approx(mean)
    assert foundation.std.flatten().tolist() == pytest.approx(std)


def test_the_same_file_gives_the_same_digest(foundation: Foundation, weights: Path) -> None:
    assert load_foundation(f"open_clip:{NAME}/{weights}").digest() == foundation.digest()


@pytest.mark.parametrize("content", [b"", b"<html></html>"])
def test_a_file_that_holds_no_weights_is_refused(
    weights: Path, tmp_path: Path, content: bytes
) -> None:
    broken = tmp_path / "weights.pt"
    broken.write_bytes(content)
    with pytest.raises(ConfigError, match="weights could not be loaded"):
        load_foundation(f"open_clip:{NAME}/{broken}")


def test_weights_of_another_model_are_refused(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights)
    torch.save({k: v for k, v in state.items() if "ln_post" not in k}, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match=r"weights could not be loaded(.|\n)*ln_post"):
        load_foundation(f"open_clip:{NAME}/{tmp_path / 'other.pt'}")

"""The patches of an image, told without weights, are those of the model that is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny_hf
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import image_patches, load_foundation
from vitlens_core.foundation.packaged import SENTENCE_ENCODER, TRUNK_MODEL, TRUNK_TAG

LIT = f"lit:{TRUNK_MODEL}.{TRUNK_TAG}+{SENTENCE_ENCODER}"


@pytest.mark.parametrize("kind", tiny_hf.MODELS)
def test_of_a_folder_as_its_config_says(tmp_path: Path, kind: str) -> None:
    spec = f"hf:{tiny_hf.write(kind, tmp_path / kind)}#vision"
    loaded = load_foundation(spec).trunk.input_tokens
    # Qwen's images may have any size; no config states one.
    assert image_patches(spec) == (None if kind.startswith("qwen") else loaded)


@pytest.mark.parametrize("side", [56, 112, None])
def test_of_a_lit_trunk_as_its_name_says(side: int | None) -> None:
    loaded = load_foundation(LIT, image_size_px=side)
    assert image_patches(LIT, side) == loaded.trunk.input_tokens


def test_of_open_clips_models(tiny_open_clip: str) -> None:
    loaded = load_foundation(tiny_open_clip)
    assert image_patches(tiny_open_clip) == loaded.trunk.input_tokens
    assert image_patches("open_clip:ViT-L-14/datacomp_xl_s13b_b90k") == 256


@pytest.mark.parametrize(
    "spec", ["hf:owner/name", "open_clip:ViT-B-16-SigLIP/webli", "lit:vit_small.x+y"]
)
def test_what_is_not_known_here_is_not_guessed(spec: str) -> None:
    assert image_patches(spec) is None


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown foundation"):
        image_patches("clip:x")

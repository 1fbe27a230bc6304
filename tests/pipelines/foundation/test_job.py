"""foundation: fitted on training objects only, described, and opened as it was stored."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from upath import UPath

from pipelines.execution.runtime import Runtime
from pipelines.foundation import job as foundation
from pipelines.foundation.features import composite_views, fitted_features
from pipelines.foundation.info import read_info
from pipelines.foundation.opening import open_foundation
from pipelines.foundation.step import DEFAULT_SPEC, FoundationConfig
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import encode_png, read_shard
from tests import tiny_hf
from tests.pipelines import synthetic
from vitlens_core.errors import ConfigError, IntegrityError
from vitlens_core.foundation import has_text_tower
from vitlens_core.foundation.base import Foundation
from vitlens_core.foundation.info import FoundationInfo


@pytest.fixture(scope="module")
def opened(foundation_artifact: Artifact) -> Foundation:
    return open_foundation(foundation_artifact)


def test_it_is_described_as_it_is(foundation_artifact: Artifact, opened: Foundation) -> None:
    foundation_artifact.verify()
    assert read_info(foundation_artifact) == FoundationInfo(
        spec=DEFAULT_SPEC,
        embed_dim=32,
        image_size_px=56,
        background=255,
        logit_scale=opened.logit_scale,
        digest=opened.digest(),
    )
    assert opened.embed_dim == opened.encode_text(["a chair"]).shape[1] == 32


def test_only_training_objects_are_seen(
    foundation_artifact: Artifact, shards_artifact: Artifact
) -> None:
    tars = [path.name for path in foundation_artifact.shards()]
    assert tars == [path.name for path in shards_artifact.shards("train")]
    fitted = {s["__key__"] for path in foundation_artifact.shards() for s in read_shard(path)}
    held_out = {
        s["__key__"]
        for split in ("val", "test")
        for path in shards_artifact.shards(split)
        for s in read_shard(path)
    }
    assert fitted
    assert not fitted & held_out


def test_training_captions_find_their_objects(
    opened: Foundation, shards_artifact: Artifact
) -> None:
    """Seven objects: chance is .14."""
    images, texts, owners = [], [], []
    for path in shards_artifact.shards("train"):
        for sample in read_shard(path):
            captions = json.loads(sample["json"])["captions"]
            owners += [len(images)] * len(captions)
            images.append(opened.encode_image(composite_views(sample, 255)).mean(0))
            texts.append(opened.encode_text(captions))
    similarity = torch.cat(texts) @ F.normalize(torch.stack(images), dim=-1).T
    assert (similarity.argmax(1) == torch.tensor(owners)).float().mean() > 0.5


def test_features_are_known_of_the_shards_it_was_fitted_on(
    foundation_artifact: Artifact, shards_artifact: Artifact, targets_artifact: Artifact
) -> None:
    known = fitted_features(foundation_artifact, shards_artifact, "train-00000")
    keys = [s["__key__"] for s in read_shard(shards_artifact.path("train-00000.tar"))]
    assert list(known) == keys
    assert fitted_features(foundation_artifact, shards_artifact, "test-00000") == {}
    assert fitted_features(foundation_artifact, targets_artifact, "train-00000") == {}


def test_other_weights_than_those_stored_are_refused(runtime: Runtime, tiny_lit: str) -> None:
    made = synthetic.foundation(runtime.store, tiny_lit)
    assert open_foundation(made).digest() == read_info(made).digest
    path = Path(str(made.path("projections.safetensors")))
    state = load_file(path)
    save_file(state | {"log_scale": state["log_scale"] + 1}, path)
    with pytest.raises(IntegrityError, match=r"projections\.safetensors: [\d,]+ bytes"):
        open_foundation(made)


def test_an_open_clip_foundation_depends_on_nothing_but_its_spec(
    runtime: Runtime, tiny_open_clip: str, tmp_path: Path
) -> None:
    config = FoundationConfig(spec=tiny_open_clip)
    one, other = (synthetic.targets(runtime.store, {"train": sizes}) for sizes in ((2,), (3,)))
    made = foundation.run(runtime, config, {}, one)
    assert foundation.run(runtime, config, {}, other).reused
    assert [f.name for f in made.manifest.files] == ["foundation.json"]
    assert open_foundation(made).encode_text(["a chair"]).shape == (1, 12)
    moved = replace(made, folder=UPath(shutil.copytree(str(made.folder), tmp_path / "moved")))
    assert open_foundation(moved).digest() == read_info(made).digest


@pytest.mark.parametrize("spec", ["clip:ViT-B-16", "open_clip:ViT-B-16/openia", "lit:vit_x.y+z"])
def test_an_unknown_foundation_is_refused_before_any_work(runtime: Runtime, spec: str) -> None:
    shards = synthetic.targets(runtime.store, {"train": (2,)})
    with pytest.raises(ConfigError):
        foundation.run(runtime, FoundationConfig(spec=spec), {}, shards)


@given(red=st.integers(0, 255), alpha=st.integers(0, 255), background=st.integers(0, 255))
def test_views_stand_before_the_background(red: int, alpha: int, background: int) -> None:
    view = np.full((2, 3, 4), [red, 10, 250, alpha], np.uint8)
    (image,) = composite_views({"view00.png": encode_png(view)}, background).numpy()
    expected = red * alpha / 255 + background * (1 - alpha / 255)
    assert abs(int(image[0, 0, 0]) - expected) <= 1
    assert image.shape == (2, 3, 3)
    if alpha in (0, 255):
        assert image[0, 0, 0] == (red if alpha else background)


def test_pictures_without_alpha_stay_as_they_are() -> None:
    views = np.random.default_rng(0).integers(256, size=(2, 4, 5, 3), dtype=np.uint8)
    sample = {f"view{i:02d}.png": encode_png(view) for i, view in enumerate(views)}
    np.testing.assert_array_equal(composite_views(sample, 0).numpy(), views)


def test_a_model_without_a_text_tower_says_so(
    runtime: Runtime, shards_artifact: Artifact, tmp_path: Path
) -> None:
    folder = tiny_hf.write("instructblip", tmp_path / "instructblip")
    made = foundation.run(runtime, FoundationConfig(spec=f"hf:{folder}"), {}, shards_artifact)
    assert not read_info(made).has_text
    assert not has_text_tower(f"hf:{folder}")
    clip = f"hf:{tiny_hf.write('clip', tmp_path / 'clip')}"
    assert has_text_tower(clip)
    assert not has_text_tower(f"{clip}#vision")


def test_a_dual_encoder_of_hugging_face_is_described_and_opened_again(
    runtime: Runtime, shards_artifact: Artifact, tmp_path: Path
) -> None:
    folder = tiny_hf.write("clip", tmp_path / "clip")
    made = foundation.run(runtime, FoundationConfig(spec=f"hf:{folder}"), {}, shards_artifact)
    assert read_info(made).embed_dim == 10
    assert open_foundation(made).digest() == read_info(made).digest

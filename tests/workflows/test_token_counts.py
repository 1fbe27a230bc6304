"""A token loss that cannot be computed is refused by the settings, before any object is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny_hf
from vitlens_core.errors import ConfigError
from workflows.spec import load_workflow

ON = ("targets.token_views=2", "lens.train.token_weight=0.5")
# Where the foundation's patches are known: of a `lit` space, of a CLIP, and of one that is shared.
PATCHES = [
    ("point_cloud", "demo", 64),
    ("point_cloud", "parts", 64),
    ("point_cloud", "tiny", 16),
    ("point_cloud", "full", 256),
    ("eeg", "demo", 64),
    ("eeg", "vitlens-l", 256),
]


def config(modality: str, profile: str, *overrides: str) -> None:
    load_workflow(modality).config(profile, [*ON, *overrides])


@pytest.mark.parametrize(("modality", "profile", "patches"), PATCHES)
def test_a_lens_needs_a_latent_for_each_patch(modality: str, profile: str, patches: int) -> None:
    config(modality, profile, f"lens.lens.latents={patches}")
    with pytest.raises(ConfigError, match=f"gives 49 tokens.* set lens.lens.latents to {patches}"):
        config(modality, profile, "lens.lens.latents=49")


@pytest.mark.parametrize("profile", ["demo", "tiny"])
def test_a_shared_foundation_is_the_other_workflows(profile: str) -> None:
    patches = {"demo": 64, "tiny": 16}[profile]
    perceiver = "lens.lens.kind=perceiver"
    config("depth", profile, perceiver, f"lens.lens.latents={patches}")
    with pytest.raises(ConfigError, match=f"set lens.lens.latents to {patches}"):
        config("depth", profile, perceiver, "lens.lens.latents=49")


def test_patches_of_another_models_folder(tmp_path: Path) -> None:
    spec = f"foundation.spec=hf:{tiny_hf.write('owlv2', tmp_path / 'owl')}"
    config("point_cloud", "tiny", spec)
    with pytest.raises(ConfigError, match="gives 64 tokens"):
        config("point_cloud", "demo", spec, "lens.lens.latents=64")


def test_groups_are_no_patches_and_clips_have_no_tokens_of_one_image() -> None:
    with pytest.raises(ConfigError, match=r"gives 32 tokens.* set lens.lens.kind to perceiver"):
        config("point_cloud", "demo", "lens.lens.kind=identity")
    with pytest.raises(ConfigError, match="a signal in clips"):
        config("audio", "demo")
    config("tactile", "demo")  # an identity lens on the trunk's own grid


def test_lenses_that_teach_bring_a_foundation_that_is_not_stated() -> None:
    config("point_cloud", "demo", "teachers.near=models:/vitlens-depth@champion")

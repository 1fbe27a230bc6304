"""OpenShape's triplets, from a small tree in exactly the published format to a champion.

As a user starts them: through preflight, every step, the registry and the report.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import vitlens_core
from pipelines.source.datasets.openshape import OBJAVERSE
from pipelines.store.home import Home
from tests.pipelines.source.datasets.openshape_tree import LABELS, Embed, Tree, embed_by, whole
from vitlens_core.errors import ConfigError
from workflows.preflight import check
from workflows.recipes import recipes
from workflows.runner import RunOutcome, execute
from workflows.spec import load_workflow
from workflows.workplace import Workplace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
RECIPES = [
    recipe.name
    for recipe in recipes()
    if isinstance(data := recipe.profile().get("source"), dict) and data["kind"] == "openshape"
]


def settings(tree: Tree, spec: str, **source: object) -> list[str]:
    """Overrides for a tree whose embeddings are of a CLIP."""
    stated = {"kind": "openshape", "root": str(tree.root), "clip": spec, **source}
    return [
        f"foundation.spec={spec}",
        *(f"source.{name}={value}" for name, value in stated.items()),
    ]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, tiny_open_clip: str) -> Tree:
    """Objects of all four data sets; a name that is filtered, and an object with fewer texts."""
    embed: Embed = embed_by(tiny_open_clip)
    tree = Tree(tmp_path_factory.mktemp("openshape"), embed)
    tree.add(OBJAVERSE, "untitled", text=["untitled", "scene"])
    tree.filter["untitled"] = {"flag": "N", "reason": "says nothing"}
    tree.add("ABO", "silent", blip_caption="", msft_caption="")
    for number in range(12):
        tree.add(OBJAVERSE, f"bus{number}x", LABELS[0])
        tree.add(OBJAVERSE, f"cha{number}x", LABELS[1])
    whole(tree)
    return tree


@pytest.mark.parametrize("train", ["no_lvis", "all"])
def test_triplets_become_a_champion(
    tree: Tree, tiny_open_clip: str, train: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path))
    sets = [*settings(tree, tiny_open_clip, train=train), "foundation.embed_dim=null"]
    sets += ["foundation.image_size_px=null", "signal.points=64", "lens.tokenizer.points_seen=64"]
    assert execute(Workplace.from_environment(), "point_cloud", "tiny", sets) is RunOutcome.CHAMPION
    report = json.loads((Home(tmp_path).latest / "report.json").read_text())
    assert report["classes"] == ["bus (vehicle)", "chair"]
    assert report["quarantined"] == []
    assert report["supervision"] == {"image": 1.0, "text": 1.0}
    held_out = report["zero_shot"]["n"]
    assert held_out == 30 if train == "no_lvis" else 0 < held_out < 30
    model = vitlens_core.load("models:/vitlens-point_cloud@champion")
    assert "point_cloud" in model.modalities


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_of_triplets_passes_the_preflight(
    tree: Tree, tiny_open_clip: str, recipe: str
) -> None:
    """With the whole settings of the recipe; only the CLIP is small."""
    workflow = load_workflow("point_cloud")
    sets = [f"source.root={tree.root}", f"source.clip={tiny_open_clip}"]
    said = check(workflow, recipe, [*sets, f"foundation.spec={tiny_open_clip}"])
    assert any("48 with images, 48 with texts" in line for line in said), said
    with pytest.raises(
        ConfigError, match=r"brings embeddings of .*set foundation.spec to the former"
    ):
        check(workflow, recipe, sets)

"""The folder of the tutorial is read to its end."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from pipelines.objects import job
from pipelines.objects.mirror import EMBEDDED
from pipelines.objects.step import ObjectsConfig
from tests.pipelines import mesh_files
from tests.pipelines.quiet import quiet_runtime


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """Two classes of three files each, with names as people give them."""
    files = sorted(EMBEDDED.rglob("*.glb"), key=lambda path: path.stat().st_size)
    for number, file in enumerate(files[:5]):
        label = ("desk lamp", "chair")[number % 2]
        target = tmp_path / "meshes" / label / f"a red {label} ({number}).glb"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    mesh_files.write(tmp_path / "meshes" / "chair" / "oak", "armchair", ".obj")
    with (tmp_path / "meshes" / "facts.csv").open("w", newline="") as file:
        rows = [("file", "text"), ("chair/oak/armchair", "Oak, with arms.|To sit in.")]
        csv.writer(file).writerows(rows)
    return tmp_path / "meshes"


def test_a_folder_of_meshes_becomes_objects(meshes: Path, tmp_path: Path):
    config = ObjectsConfig(mirror=str(meshes), table="facts.csv", min_per_class=3)
    made = job.run(quiet_runtime(tmp_path), config)
    assert made.manifest.counts["samples"] == 6
    assert not made.quarantined()
    samples = {s["__key__"]: bytes(s["json"]) for shard in made.shards() for s in made.read(shard)}
    assert "desk-lamp-a-red-desk-lamp-0-" in samples
    assert b"Oak, with arms." in samples["chair-oak-armchair"]

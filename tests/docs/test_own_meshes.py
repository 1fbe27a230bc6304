"""The tutorial's script makes a mirror that the first step reads to its end."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.objects import job
from pipelines.objects.mirror import EMBEDDED
from pipelines.objects.step import ObjectsConfig
from tests.docs.pages import ROOT
from tests.pipelines.quiet import quiet_runtime

SCRIPT = ROOT / "docs" / "examples" / "meshes_to_mirror.py"


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """Two classes of three files each, with names as people give them."""
    files = sorted(EMBEDDED.rglob("*.glb"), key=lambda path: path.stat().st_size)
    for number, file in enumerate(files[:6]):
        label = ("desk lamp", "box")[number % 2]
        target = tmp_path / "meshes" / label / f"a red {label} ({number}).glb"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return tmp_path / "meshes"


def test_a_folder_of_meshes_becomes_objects(meshes: Path, tmp_path: Path):
    mirror = tmp_path / "mirror"
    ran = subprocess.run(
        [sys.executable, SCRIPT, meshes, mirror], capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"6 objects in {mirror}\n"
    made = job.run(quiet_runtime(tmp_path), ObjectsConfig(mirror=str(mirror), min_per_class=3))
    assert made.manifest.counts["samples"] == 6
    assert not made.manifest.quarantined
    names = {s["__key__"] for shard in made.shards() for s in made.read(shard)}
    assert "desk_lamp-a-red-desk-lamp-0-" not in names
    assert "desk-lamp-a-red-desk-lamp-0-" in names


def test_two_files_of_one_name_are_told_apart_by_the_user(meshes: Path, tmp_path: Path):
    shutil.copy(next(meshes.glob("box/*.glb")), meshes / "box" / "a.glb")
    shutil.copy(next(meshes.glob("box/*.glb")), meshes / "box" / "a!.glb")
    shutil.copy(next(meshes.glob("box/*.glb")), meshes / "box" / "a?.glb")
    convert = runpy.run_path(str(SCRIPT))["convert"]
    with pytest.raises(SystemExit, match="another file is called box-a- already"):
        convert(meshes, tmp_path / "mirror")

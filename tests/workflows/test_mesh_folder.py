"""A folder of meshes in nine formats, from the command to a champion."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vitlens_core
from pipelines.store.home import Home
from tests.pipelines import mesh_files
from workflows.runner import RunOutcome, execute
from workflows.workplace import Workplace

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]
# What a lens reads itself; COLLADA, 3MF and STEP are read by the step `objects` alone.
READ = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
CLASSES = ("red box", "tall thing")


def test_a_folder_of_nine_formats_becomes_a_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "meshes"
    files = [
        mesh_files.write(folder / name, f"of{ending[1:]}", ending, mesh_files.OWN_UP[ending])
        for name in CLASSES
        for ending in mesh_files.ENDINGS
    ]
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path / "home"))
    sets = [f"objects.mirror={folder}", "objects.classes=null", "objects.count=null"]
    assert execute(Workplace.from_environment(), "point_cloud", "tiny", sets) is RunOutcome.CHAMPION
    report = json.loads((Home(tmp_path / "home").latest / "report.json").read_text())
    assert tuple(report["classes"]) == CLASSES
    assert report["objects"] == {"ok": len(files), "quarantined": 0}
    model = vitlens_core.load("models:/vitlens-point_cloud@champion")
    read = [path for path in files if path.suffix in READ]
    assert len(read) == len(READ) * len(CLASSES)
    found = model.encode({"point_cloud": [str(path) for path in read]})["point_cloud"]
    assert found.shape[0] == len(read)
    assert np.isfinite(np.asarray(found)).all()

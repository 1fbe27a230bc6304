"""A miniature sweep with the real components: two points that share all but their lens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipelines.registry import models

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]


def test_a_sweep_trains_every_point_and_registers_none(tmp_path: Path) -> None:
    vitlens = Path(sys.executable).with_name("vitlens")
    command = [str(vitlens), "sweep", "thermal", "--profile", "tiny", "--axis", "recipe"]
    environment = {**os.environ, "VITLENS_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=850)

    assert done.returncode == 0, done.stderr
    made = (path.parent.parent.name for path in (tmp_path / "artifacts").glob("*/*/manifest.json"))
    shared = {"source": 1, "shards": 1, "foundation": 1, "targets": 1}
    assert Counter(made) == {**shared, "lens": 2, "evaluation": 2}
    [folder] = (tmp_path / "sweeps").iterdir()
    found = json.loads((folder / "sweep.json").read_text())
    assert [(p["label"], p["emergent"]) for p in found["points"]] == [
        ("vit-lens", False),
        ("imagebind", True),
    ]
    assert all(p["validation"]["against"] == "image" for p in found["points"])
    assert found["is_generated"]
    assert models.versions(tmp_path, "thermal") == []
    assert not (tmp_path / "latest").exists()

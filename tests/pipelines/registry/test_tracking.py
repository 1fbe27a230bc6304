"""The revision that a run is tagged with is that of the checkout, wherever the module lies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pipelines.registry.tracking import code_revision

ROOT = Path(__file__).parents[3]


def test_the_code_revision_is_the_commit_of_the_checkout() -> None:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    revision = code_revision()
    assert revision is not None
    assert revision.removesuffix("-dirty") == commit


def test_the_image_states_the_revision_of_its_code(tmp_path: Path) -> None:
    """There the packages lie outside of git."""
    for package in ("vitlens_core", "pipelines"):
        (tmp_path / package).symlink_to(ROOT / package)
    show = "from pipelines.registry.tracking import code_revision; print(code_revision())"
    found = [
        subprocess.run(
            [sys.executable, "-c", show],
            env={**os.environ, "PYTHONPATH": str(tmp_path), "VITLENS_CODE_REVISION": stated},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for stated in ("abc123", "")
    ]
    assert found == ["abc123", "None"]

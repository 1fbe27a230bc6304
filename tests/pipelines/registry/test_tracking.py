"""The revision that a run is tagged with is that of the checkout, wherever the module lies."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pipelines.registry.tracking import code_revision

ROOT = Path(__file__).parents[3]


def test_the_code_revision_is_the_commit_of_the_checkout() -> None:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    revision = code_revision()
    assert revision is not None
    assert revision.removesuffix("-dirty") == commit

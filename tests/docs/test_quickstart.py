"""The quickstart runs as a newcomer runs it: as a script, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


@pytest.mark.nightly
def test_it_names_objects_it_has_not_seen(tmp_path: Path):
    ran = subprocess.run(
        [sys.executable, ROOT / "docs" / "quickstart.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = re.search(r"(\d+) of (\d+) right; guessing gives (\d+)", ran.stdout)
    assert found is not None, ran.stdout
    right, total, guessed = map(int, found.groups())
    assert total == 10
    # 7 were seen; another processor rounds otherwise.
    assert right >= 2 * guessed

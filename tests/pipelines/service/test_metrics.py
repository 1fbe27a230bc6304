"""Metrics: replicas of a machine are counted together, in files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pipelines.service.metrics import FOLDER

REPLICA = """
from pipelines.service.metrics import Metrics
metrics = Metrics()
metrics.reloads.labels("done").inc()
print(metrics.text().decode())
"""


def test_replicas_count_together_where_the_folder_has_to_be_made_first(tmp_path: Path) -> None:
    """The driver made it on its own node only."""
    environment = {**os.environ, FOLDER: str(tmp_path / "not yet" / "there")}
    for count in (1, 2):
        done = subprocess.run(
            [sys.executable, "-c", REPLICA],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert f'vitlens_reloads_total{{outcome="done"}} {count}.0' in done.stdout

"""environment: variables that silence third-party packages, and Dagster's settings."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.store.home import Home

_QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "GIT_PYTHON_REFRESH": "quiet",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
}
# Dagster knows schedules by it, so it is the same wherever and however they are served.
CODE_LOCATION = "vitlens"
# One run at a time from the UI: two runs would compete for the machine's cores and its one Ray.
_DAGSTER_YAML = """\
nux:
  enabled: false
telemetry:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 1
"""


def quiet_environment() -> None:
    """Switch off telemetry and third-party messages, here and in child processes."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)  # a value that the user has set stays


def dagster_folder(home: Home) -> Path:
    """Return Dagster's folder and write its settings, unless the user has a `dagster.yaml`."""
    folder = home.dagster()
    settings = folder / "dagster.yaml"
    if not settings.exists():
        settings.write_text(_DAGSTER_YAML)
    return folder

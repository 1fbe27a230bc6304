"""home: where a machine keeps what vitlens makes, and the quiet it works in.

    $VITLENS_HOME (default ./.vitlens)
    ├── artifacts/    every step's artifacts, unless VITLENS_STORE names another folder or URL
    ├── dagster/      run history (sqlite)
    ├── generated/    data sets written by their sources, in published formats
    ├── latest        link to the newest of reports/
    ├── logs/         one file per run
    ├── mirrors/      annotations of remote mirrors, by version
    ├── models/       registered models fetched from a server
    ├── packages/     data sets that lie in packages, fetched once
    ├── reports/      report.json and report.html, a folder per evaluation
    ├── sweeps/       table and plot of every sweep
    ├── registry.lock             held by whoever promotes
    └── mlflow.db, mlartifacts/   registry, unless MLFLOW_TRACKING_URI names a server

Nothing is made before it is needed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from pipelines.store.artifacts import Store, home_folder

_QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "GIT_PYTHON_REFRESH": "quiet",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
}
# One run at a time from the UI: two would share the machine's few cores and its one Ray.
_DAGSTER_YAML = """\
nux:
  enabled: false
telemetry:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 1
"""


@dataclass(frozen=True)
class Home:
    """Paths under `$VITLENS_HOME`."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        return cls(home_folder())

    @property
    def store(self) -> Store:
        return Store(UPath(os.environ.get("VITLENS_STORE") or self.root / "artifacts"))

    @property
    def latest(self) -> Path:
        return self.root / "latest"

    def logs(self) -> Path:
        return _made(self.root / "logs")

    def dagster(self) -> Path:
        """Dagster's folder, with its settings; an existing `dagster.yaml` is the user's."""
        folder = _made(self.root / "dagster")
        settings = folder / "dagster.yaml"
        if not settings.exists():
            settings.write_text(_DAGSTER_YAML)
        return folder


def quiet_environment() -> None:
    """No telemetry and no third-party chatter, here and in child processes."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder

"""home: where a machine keeps what vitlens makes. Nothing else reads VITLENS_HOME.

    $VITLENS_HOME (default ./.vitlens)
    ├── artifacts/    every step's artifacts, unless VITLENS_STORE names another folder or URL
    ├── curves/       figures of trainings, if `tracking.loggers` has json_lines
    ├── dagster/      run history (sqlite)
    ├── generated/    data sets written by their sources, in published formats
    ├── keys/         the home's signing key and the service's token, for this user only
    ├── latest        link to the newest of reports/
    ├── locks/        which process makes what
    ├── logs/         one file per run
    ├── mirrors/      annotations of remote mirrors, by version
    ├── models/       registered models fetched from a server
    ├── packages/     data sets that lie in packages, fetched once
    ├── reports/      report.json and report.html, a folder per evaluation
    ├── sweeps/       table and plot of every sweep
    ├── registry.lock             lock of a running promotion
    └── mlflow.db, mlartifacts/   registry, unless MLFLOW_TRACKING_URI names a server

Folders are created when they are first needed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from pipelines.store.artifacts import Store
from pipelines.store.files import private_folder


@dataclass(frozen=True)
class Home:
    """Paths under `$VITLENS_HOME`."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        """Return the home of this process; workers are sent the driver's, as theirs may differ."""
        return cls(Path(os.environ.get("VITLENS_HOME", ".vitlens")).expanduser().absolute())

    @property
    def store(self) -> Store:
        return Store(UPath(os.environ.get("VITLENS_STORE") or self.root / "artifacts"))

    @property
    def generated(self) -> Path:
        return self.root / "generated"

    @property
    def packages(self) -> Path:
        return self.root / "packages"

    @property
    def mirrors(self) -> Path:
        return self.root / "mirrors"

    @property
    def latest(self) -> Path:
        return self.root / "latest"

    def logs(self) -> Path:
        return private_folder(self.root / "logs")

    def curves(self) -> Path:
        return _created(self.root / "curves")

    def dagster(self) -> Path:
        return private_folder(self.root / "dagster")


def _created(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder

"""home: where a machine keeps what vitlens makes. Nothing else reads VITLENS_HOME.

    $VITLENS_HOME (default ./.vitlens)
    ├── artifacts/    every step's artifacts, unless VITLENS_STORE names another folder or URL;
    │                 in features/ image features, which are computed again if they are deleted
    ├── curves/       figures of trainings, if `tracking.loggers` has json_lines
    ├── dagster/      run history (sqlite)
    ├── generated/    data sets written by their sources, in published formats
    ├── keys/         the home's signing key and the service's token, for this user only
    ├── latest        link to the newest of reports/
    ├── locks/        which process makes what
    ├── logs/         one file per run
    ├── notices.yaml  who is told of failures and champions, unless VITLENS_NOTICES names a file
    ├── mirrors/      annotations of remote mirrors, by version
    ├── models/       registered models fetched from a server
    ├── packages/     data sets that lie in packages, fetched once
    ├── reports/      report.json and report.html, a folder per evaluation
    ├── sweeps/       table and plot of every sweep
    ├── run.lock, run.json        lock of a run, and which run has it
    ├── registry.lock             lock of a running promotion;  mlflow.lock  of a first opening
    └── mlflow.db, mlartifacts/   registry, unless MLFLOW_TRACKING_URI names a server

Folders are created when they are first needed. Nothing in a home depends on where it lies: it can
be moved, copied and archived as a whole.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.store.artifact_store import Store
from pipelines.store.files import opened_place, private_folder, storage_errors, write_atomic
from vitlens_core.confinement import plain_name
from vitlens_core.errors import ConfigError

# SQLAlchemy ends a database's path at the first and decodes the second.
_NOT_IN_ADDRESSES = re.compile(r"\?|%[0-9A-Fa-f]{2}")


class Holder(BaseModel):
    """The run that has the lock of a home."""

    model_config = ConfigDict(frozen=True)

    what: str
    pid: int
    host: str
    since: datetime

    def __str__(self) -> str:
        return f"{self.what} (process {self.pid} on {self.host}, since {self.since:%H:%M}Z)"


@dataclass(frozen=True)
class Home:
    """Paths under `$VITLENS_HOME`."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        """Return the home of this process; workers are sent the driver's, as theirs may differ."""
        root = Path(os.environ.get("VITLENS_HOME", ".vitlens")).expanduser().absolute()
        if found := _NOT_IN_ADDRESSES.search(str(root)):
            raise ConfigError(
                f"VITLENS_HOME={root}: its path must not contain {found[0]!r}, since the databases "
                "in it are opened by an address; choose another folder"
            )
        return cls(root)

    @property
    def store(self) -> Store:
        named = os.environ.get("VITLENS_STORE")
        return Store(opened_place(named or self.root / "artifacts", "VITLENS_STORE"))

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

    def report_folder(self, evaluation: str) -> Path:
        """Return the folder of the report of an evaluation, by its fingerprint.

        Raises:
            InputError: it is no name of a folder; a tag of a registry may hold anything.
        """
        return self.root / "reports" / plain_name(evaluation[:16])

    @contextmanager
    def lock(self, what: str, waiting: Callable[[str], None] | None = None) -> Generator[None]:
        """Let one run at a time work in this home; within one process it can be taken again.

        Args:
            what: the run that takes the lock, as others are told.
            waiting: is told once what has the lock, and this call waits; None: it is refused.

        Raises:
            ConfigError: another run has the lock, and `waiting` is None.
            StorageError: nothing can be written in this home.
        """
        lock = FileLock(self.root / "run.lock", is_singleton=True, thread_local=False)
        again = lock.is_locked
        if not self._took(lock):
            if waiting is None:
                raise ConfigError(
                    f"{self.root} is in use by {self.running()}; wait for it, or name another home "
                    "in VITLENS_HOME"
                )
            waiting(f"waiting for {self.running()}; Ctrl-C stops the waiting")
            lock.acquire()
        try:
            if not again:
                self._state_holder(what)
            yield
        finally:
            lock.release()

    def _took(self, lock: BaseFileLock) -> bool:
        with storage_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return False
            return True

    def running(self) -> str:
        """Describe the run that took the lock last."""
        try:
            return str(Holder.model_validate_json((self.root / "run.json").read_bytes()))
        except (FileNotFoundError, ValidationError):
            return "another run"  # it took the lock and has not said yet which one it is

    def _state_holder(self, what: str) -> None:
        now = datetime.now(UTC)
        holder = Holder(what=what, pid=os.getpid(), host=socket.gethostname(), since=now)
        write_atomic(self.root / "run.json", holder.model_dump_json().encode())

    def logs(self) -> Path:
        return private_folder(self.root / "logs")

    def curves(self) -> Path:
        return _created(self.root / "curves")

    def dagster(self) -> Path:
        return private_folder(self.root / "dagster")


def _created(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder

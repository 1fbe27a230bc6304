"""Postgres of the stack: Debian's, with a database for Dagster and two for MLflow."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from infra.local.processes import HOST, Command, StackError

DATABASES = {"dagster": "dagster", "mlflow": "mlflow", "mlflow_auth": "mlflow"}  # and its owner


@dataclass(frozen=True)
class Postgres:
    """A cluster of databases in a folder."""

    folder: Path
    port: int

    def command(self) -> Command:
        """Return how it is started; the cluster is made first if there is none."""
        user = _user()
        if not (self.folder / "PG_VERSION").exists():
            self._initialise(user)
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "fsync": "on",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Command(
            [_binary("postgres"), "-D", self.folder, *options],
            {"PATH": os.environ["PATH"]},
            partial(self._answers),
            [self.port],
            user=user,
            stop=signal.SIGINT,  # fast: connections are closed, nothing is lost
        )

    def create(self, passwords: Mapping[str, str]) -> None:
        """Make the roles and their databases, unless they exist."""
        roles = self.query("SELECT rolname FROM pg_roles").split()
        for role, password in passwords.items():
            if role not in roles:
                self.query(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
        databases = self.query("SELECT datname FROM pg_database").split()
        for database, owner in DATABASES.items():
            if database not in databases:
                self.query(f"CREATE DATABASE {database} OWNER {owner}")

    def query(self, sql: str, database: str = "postgres") -> str:
        """Return what psql prints, as the cluster's own user on its socket."""
        where = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-d", database]
        done = subprocess.run(
            [_binary("psql"), *where, "-qtAX", "-v", "ON_ERROR_STOP=1"],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StackError(f"postgres refuses: {done.stderr.strip()}")
        return done.stdout.strip()

    def _answers(self) -> bool:
        ready = [_binary("pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def _initialise(self, user: str | None) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if user:
            shutil.chown(self.folder, user)
        subprocess.run(
            [
                *(_binary("initdb"), "-D", self.folder, "-U", "postgres", "-E", "UTF8"),
                # The socket lies in the cluster's folder, which is the user's alone. The superuser
                # has no password, and so cannot come over TCP.
                *("--auth-local=trust", "--auth-host=scram-sha-256"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            user=user,
            cwd="/",
        )


def _user() -> str | None:
    """Return the user who runs Postgres where this one is root, whom Postgres refuses."""
    if os.getuid():
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _binary(name: str) -> Path:
    """Return a program of Postgres; Debian keeps most of them off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = next((f / name for f in folders if (f / name).exists()), None) or shutil.which(name)
    if found is None:
        raise StackError(f"no {name}; on Debian: apt-get install postgresql")
    return Path(found)

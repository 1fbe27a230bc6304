"""backup: copies of the databases and of the models' files, and their way back.

Reads     the databases of MLflow and Dagster: those given by URL (Postgres), or else the home's
          own (SQLite); the files of registered models, wherever fsspec reads them.
Writes    a folder `<time>/` with a dump per database, `files/`, and `backup.json`, written last:
          a folder without it is unfinished.
Promises  a restore checks every file first, and then replaces each database as a whole. The
          store's artifacts are not copied: a run makes them again.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from upath import UPath

from pipelines.store.files import FileEntry, file_entry, write_atomic
from pipelines.store.home import Home
from pipelines.store.shards import encode_model
from vitlens_core.errors import ConfigError, IntegrityError, VitlensError

STATED = "backup.json"
_FILES = "files"


class Backup(BaseModel):
    """What a backup holds."""

    model_config = ConfigDict(frozen=True)

    databases: dict[str, FileEntry] = Field(description="dump by the database's name")
    files: tuple[FileEntry, ...] = Field(description="files of models; `name` is their path")

    @model_validator(mode="after")
    def _lie_inside(self) -> Self:
        names = [entry.name for entry in (*self.files, *self.databases.values())]
        for name in (*names, *self.databases):
            parts = PurePosixPath(name).parts
            if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
                raise ValueError(f"{name[:80]!r} would lie outside of the home")
        return self


@dataclass(frozen=True)
class Places:
    """What is copied.

    Attributes:
        urls: databases of Postgres; empty for the home's own.
        files: folder or URL of the models' files.
    """

    home: Home
    urls: tuple[str, ...]
    files: UPath

    def __post_init__(self) -> None:
        for url in self.urls:
            parts = urlsplit(url)
            if parts.scheme != "postgresql" or not parts.path.strip("/"):
                raise ConfigError(f"expected postgresql://user@host/database, found {url!r}")
            if parts.password:
                raise ConfigError(
                    f"the URL of {parts.path.strip('/')} holds a password, which every process "
                    "could read: take it out and set PGPASSWORD or PGPASSFILE"
                )

    def own(self) -> Iterator[tuple[str, Path]]:
        """Yield the home's databases by their path in it."""
        for path in sorted(self.home.root.rglob("*.db")):
            yield path.relative_to(self.home.root).as_posix(), path


def back_up(places: Places, into: Path) -> Path:
    """Make a backup in a new folder of `into`, and return it.

    Raises:
        VitlensError: a database cannot be read; the message is its own.
    """
    folder = into / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    folder.mkdir(parents=True)
    databases = {}
    for url in places.urls:
        dump = folder / f"{_name(url)}.dump"
        _call("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={url}")
        databases[_name(url)] = file_entry(dump)
    for number, (name, path) in enumerate(() if places.urls else places.own()):
        dump = folder / f"{number}.sqlite"
        # By SQLite itself: a copy of the file could hold half of a change.
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(dump)) as target:
            source.backup(target)
        databases[name] = file_entry(dump)
    # After the databases: every file that a version names is then there.
    files = tuple(_copied(places.files, UPath(folder / _FILES)))
    write_atomic(folder / STATED, encode_model(Backup(databases=databases, files=files)))
    return folder


def restore(places: Places, folder: Path) -> Backup:
    """Put a backup in the place of what is there.

    Raises:
        ConfigError: no finished backup, or one of other databases.
        IntegrityError: a file is damaged; nothing was changed.
        VitlensError: a database refuses.
    """
    if not (folder / STATED).exists():
        raise ConfigError(f"{folder} is no finished backup: expected {STATED} in it")
    try:
        stated = Backup.model_validate_json((folder / STATED).read_bytes())
    except ValidationError as error:
        raise IntegrityError(f"{folder / STATED} is damaged: {error}") from error
    _verify(folder, stated)
    by_name = {_name(url): url for url in places.urls}
    if places.urls and by_name.keys() != stated.databases.keys():
        raise ConfigError(
            f"the backup holds {', '.join(stated.databases)}, and {', '.join(by_name)} were given"
        )
    for file in stated.files:
        target = places.files / file.name  # checked by `Backup`
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, (folder / _FILES / file.name).read_bytes())
    for name, file in stated.databases.items():
        if name in by_name:
            whole = ("--clean", "--if-exists", "--single-transaction", "--exit-on-error")
            _call("pg_restore", *whole, f"--dbname={by_name[name]}", str(folder / file.name))
        else:
            target = places.home.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            for journal in ("-wal", "-shm"):  # of the former database: they would be played back
                Path(f"{target}{journal}").unlink(missing_ok=True)
            shutil.copy(folder / file.name, target)
    return stated


def _copied(source: UPath, target: UPath) -> Iterator[FileEntry]:
    """Copy every file of a folder, and yield it with its path in the folder."""
    for path in sorted(source.rglob("*"), key=str) if source.exists() else ():
        if path.is_file():
            name = path.path.removeprefix(source.path).lstrip("/")
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            entry = write_atomic(Path(str(target / name)), path.read_bytes())
            yield entry.model_copy(update={"name": name})


def _verify(folder: Path, stated: Backup) -> None:
    files = [(folder / file.name, file) for file in stated.databases.values()]
    files += [(folder / _FILES / file.name, file) for file in stated.files]
    for path, file in files:
        present = file_entry(path) if path.exists() else None
        if present is None or present.sha256 != file.sha256:
            state = "is missing" if present is None else "differs from its checksum"
            raise IntegrityError(f"{path} {state}; nothing was restored: take another backup")


def _name(url: str) -> str:
    return urlsplit(url).path.strip("/")


def _call(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ConfigError(f"no {command[0]} found: install the client of Postgres") from None
    if done.returncode:
        raise VitlensError(f"{command[0]}: {done.stderr.strip()}")


def places_of(home: Home, urls: Sequence[str], files: str | None) -> Places:
    """Return what is copied, from what a command was given."""
    return Places(home, tuple(urls), UPath(files or home.root / "mlartifacts"))

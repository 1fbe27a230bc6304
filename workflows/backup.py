"""backup: copies of the databases, of the models' files and of the home's keys, and their way back.

Reads     the databases of MLflow and Dagster: those given by URL (Postgres), or else the home's
          own (SQLite); the files of registered models, wherever fsspec reads them; the home's
          `keys/` and `notices.yaml`.
Writes    a folder `<time>/` with a dump per database, `files/`, `home/` and `backup.json`, for this
          user only; until it is whole it is called `<time>.unfinished/`. In the store's root
          `last_backup.json`, for the exporter.
Promises  a restore checks every file first, and then replaces each database as a whole. Killed in
          the middle, it is run again. The store's artifacts are not copied: a run makes them again.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Self

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from upath import UPath

from pipelines.store.artifact_store import Store
from pipelines.store.files import (
    FileEntry,
    atomic_file,
    file_entry,
    names_in,
    storage_errors,
    write_atomic,
)
from pipelines.store.home import Home
from pipelines.store.shards import encode_model
from vitlens_core.errors import ConfigError, IntegrityError, StorageError, VitlensError
from workflows import postgres, sqlite

logger = logging.getLogger(__name__)
STATED = "backup.json"
LAST = "last_backup.json"  # in the root of a store, where no artifact lies
FILES, HOME, _LOCK = "files", "home", ".lock"
_UNFINISHED = ".unfinished"
_FINISHED = re.compile(r"\d{8}-\d{6}")
_LEFT = re.compile(rf"{_FINISHED.pattern}{re.escape(_UNFINISHED)}")  # by a killed backup
_OF_HOME = re.compile(r"notices\.yaml|keys/[^/]+")
BLOCK = 1 << 20


class Backup(BaseModel):
    """What a backup holds."""

    model_config = ConfigDict(frozen=True)

    databases: dict[str, FileEntry] = Field(description="dump by the database's name")
    files: tuple[FileEntry, ...] = Field(description="files of models; `name` is their path")
    home: tuple[FileEntry, ...] = Field((), description="keys and notices; `name` is their path")

    @model_validator(mode="after")
    def _lie_inside(self) -> Self:
        names = [entry.name for entry in (*self.files, *self.databases.values())]
        for name in (*names, *self.databases):
            if not _is_inside(name):
                raise ValueError(f"{name[:80]!r} would lie outside of the home")
        for entry in self.home:
            if not _is_inside(entry.name) or not _OF_HOME.fullmatch(entry.name):
                raise ValueError(f"{entry.name[:80]!r} is none of the home's keys and notices")
        return self

    @property
    def size_bytes(self) -> int:
        entries = chain(self.databases.values(), self.files, self.home)
        return sum(entry.size_bytes for entry in entries)


class LastBackup(BaseModel):
    """What the exporter is told of the last finished backup."""

    model_config = ConfigDict(frozen=True)

    made_at: AwareDatetime
    size_bytes: int


@dataclass(frozen=True)
class Places:
    """What is copied.

    Attributes:
        urls: databases of Postgres; empty for the home's own.
        given: folder or URL of the models' files; None for the home's own.
        with_keys: whether the home's keys and notices are copied too.
    """

    home: Home
    urls: tuple[str, ...] = ()
    given: str | None = None
    with_keys: bool = True

    def __post_init__(self) -> None:
        if len(self.by_name) < len(self.urls):
            raise ConfigError("two of the databases have the same name: back each up by itself")

    @property
    def by_name(self) -> Mapping[str, str]:
        """URLs of Postgres by the name of their database."""
        return {postgres.database_name(url): url for url in self.urls}

    @property
    def files(self) -> UPath:
        return UPath(self.given or self.home.root / "mlartifacts")

    def own(self) -> Iterator[tuple[str, Path]]:
        """Yield the home's databases by their path in it: those of MLflow and of Dagster."""
        root = self.home.root
        of_dagster = [(root / "dagster" / part).rglob("*.db") for part in ("history", "schedules")]
        for path in (root / "mlflow.db", *sorted(chain(*of_dagster))):
            if path.is_file():
                yield path.relative_to(root).as_posix(), path

    def of_home(self) -> list[str]:
        """Return the paths of the home's keys and notices in it."""
        keys = names_in(UPath(self.home.root, "keys")) if self.with_keys else ()
        names = [f"keys/{name}" for name in sorted(keys) if not name.endswith(".tmp")]
        names += ["notices.yaml"] if self.with_keys else []
        return [name for name in names if (self.home.root / name).is_file()]


def back_up(places: Places, into: Path, keep: int | None = None) -> Path:
    """Make a backup in a new folder of `into`, and return it.

    Args:
        keep: how many finished backups stay, the new one among them; older ones, and what killed
            backups left, are removed. None removes nothing.

    Raises:
        ConfigError: there is no folder of models' files where one was named.
        StorageError: files cannot be read, or the backup cannot be written.
        VitlensError: a database cannot be read; the message is its own. Another backup is being
            made in `into`.
    """
    with private(), storage_errors(into):
        into.mkdir(parents=True, exist_ok=True)
        with alone(into):
            if keep is not None:
                _remove_unfinished(into)
            folder, stated = _made(places, into)
            if keep is not None:
                others = [each for each in _finished(into) if each != folder]
                for old in others[: max(0, len(others) + 1 - keep)]:
                    old.rename(f"{old}{_UNFINISHED}")  # a kill leaves none that looks finished
                _remove_unfinished(into)
    _tell(places.home.store, stated)
    return folder


def last_backup(store: Store) -> LastBackup | None:
    """Return what a store says of the last backup; None if there was none.

    Raises:
        OSError: the store cannot be read.
        ValidationError: what it says is damaged.
    """
    path = store.root / LAST
    if not isinstance(path, Path):
        path.fs.invalidate_cache(path.path)  # another process writes it
    try:
        return LastBackup.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None


def _made(places: Places, into: Path) -> tuple[Path, Backup]:
    while (finished := into / time.strftime("%Y%m%d-%H%M%S", time.gmtime())).exists():
        time.sleep(0.1)
    folder = Path(f"{finished}{_UNFINISHED}")
    folder.mkdir()
    try:
        stated = _copied(places, folder)
        verify(folder, stated)
        write_atomic(folder / STATED, encode_model(stated))
        return folder.rename(finished), stated
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _copied(places: Places, folder: Path) -> Backup:
    databases = {}
    for name, url in places.by_name.items():
        postgres.dump(url, folder / f"{name}.dump")
        databases[name] = file_entry(folder / f"{name}.dump")
    for number, (name, path) in enumerate(() if places.urls else places.own()):
        sqlite.dump(path, folder / f"{number}.sqlite")
        databases[name] = file_entry(folder / f"{number}.sqlite")
    # After the databases: every file that a version names is then there.
    files = _listed(places)
    return Backup(
        databases=databases,
        files=tuple(_copy(places.files, name, folder / FILES) for name in files),
        home=tuple(
            _copy(UPath(places.home.root), name, folder / HOME) for name in places.of_home()
        ),
    )


def _listed(places: Places) -> list[str]:
    """Return the paths of the models' files in their folder."""
    source = places.files
    if places.given and isinstance(source, Path) and not source.is_dir():
        raise ConfigError(f"no folder {source} of models' files")
    with storage_errors(source):
        source.fs.invalidate_cache()
        # Not `exists` first: s3fs denies a bucket whose server does not answer.
        found = source.fs.find(source.path)
    names = sorted(path.removeprefix(source.path).lstrip("/") for path in found)
    for name in names:
        if not _is_inside(name):
            raise StorageError(f"{source}: no file can be called {name[:200]!r}; rename it there")
    return names


def _copy(source: UPath, name: str, folder: Path) -> FileEntry:
    """Copy a file, by its path in a folder, to the same path in another."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(target) as file:
        for block in _blocks(source, name):
            file.write(block)
    return file.entry.model_copy(update={"name": name})


def _blocks(source: UPath, name: str) -> Iterator[bytes]:
    with storage_errors(source / name), source.fs.open(path_in(source, name), "rb") as file:
        while block := file.read(BLOCK):
            yield block


def path_in(folder: UPath, name: str) -> str:
    """Return the path by which a folder's file system knows a file in it."""
    return f"{folder.path.rstrip('/')}/{name}"


def verify(folder: Path, stated: Backup) -> None:
    """Compare every file of a backup with its checksum (`IntegrityError`)."""
    files = [(folder / file.name, file) for file in stated.databases.values()]
    files += [(folder / FILES / file.name, file) for file in stated.files]
    files += [(folder / HOME / file.name, file) for file in stated.home]
    for path, file in files:
        present = file_entry(path) if path.is_file() else None
        if present is None or present.sha256 != file.sha256:
            state = "is missing" if present is None else "differs from its checksum"
            raise IntegrityError(f"{path} {state}; nothing was changed: take another backup")


def _is_inside(name: str) -> bool:
    """Whether a name is the plain path of a file in a folder."""
    parts = PurePosixPath(name).parts
    return bool(parts) and "/".join(parts) == name and ".." not in parts and "\0" not in name


def _finished(into: Path) -> list[Path]:
    """Return the finished backups of a folder, the oldest first."""
    return [folder for folder in _folders(into, _FINISHED) if (folder / STATED).is_file()]


def _folders(into: Path, name: re.Pattern[str]) -> list[Path]:
    found = [path for path in into.iterdir() if name.fullmatch(path.name)]
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _remove_unfinished(into: Path) -> None:
    for folder in _folders(into, _LEFT):
        shutil.rmtree(folder)


def _tell(store: Store, stated: Backup) -> None:
    """Leave in the store what the exporter shows; the backup is good without it."""
    last = LastBackup(made_at=datetime.now(UTC), size_bytes=stated.size_bytes)
    try:
        with storage_errors(store.root):
            if isinstance(store.root, Path):
                store.root.mkdir(parents=True, exist_ok=True)
            write_atomic(store.root / LAST, encode_model(last))
    except StorageError as error:
        logger.warning("the backup is finished, but its figures are not shown: %s", error)


@contextmanager
def alone(into: Path, *, only_known: bool = False) -> Generator[None]:
    """Let one backup at a time be made in a folder, and none be removed while one is restored.

    Args:
        only_known: in a folder where none is made, or that is read-only, nothing is locked.
    """
    path = into / _LOCK
    if only_known and not (path.exists() and os.access(path, os.W_OK)):
        yield
        return
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise VitlensError(
            f"another backup or restore is at work in {into}: wait for its end"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def private() -> Generator[None]:
    """Let what is written be this user's alone: databases hold accounts, keys sign gates."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)

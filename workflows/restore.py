"""restore: puts a backup in the place of what is there.

Promises  every file of the backup is compared with its checksum, and every database asked, before
          anything changes. Models' files come first: whatever a restored version names is there.
          Each database is replaced as a whole. Killed in the middle, it is run again.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from pathlib import Path

from pydantic import ValidationError
from upath import UPath

from pipelines.store.files import FileEntry, atomic_file, file_entry, storage_errors
from vitlens_core.errors import ConfigError, IntegrityError
from workflows import postgres, sqlite
from workflows.backup import (
    BLOCK,
    FILES,
    HOME,
    STATED,
    Backup,
    Places,
    alone,
    path_in,
    private,
    verify,
)

logger = logging.getLogger(__name__)


def restore(places: Places, folder: Path) -> Backup:
    """Put a backup in the place of what is there.

    Files that the backup does not have stay where they are.

    Raises:
        ConfigError: no finished backup, or one of other databases.
        IntegrityError: a file is damaged; nothing was changed.
        StorageError: a file cannot be read or written.
        VitlensError: a database is in use, and nothing was changed; or it refuses, and is as it
            was, while those named before it are restored.
    """
    if not (folder / STATED).exists():
        raise ConfigError(f"{folder} is no finished backup: expected {STATED} in it")
    with storage_errors(folder), alone(folder.parent, only_known=True):
        stated = _stated(places, folder)
        verify(folder, stated)
        with nullcontext() if places.urls else places.home.lock("vitlens restore"):
            _require_ready(places, folder, stated)
            for file in stated.files:
                _put(folder / FILES / file.name, places.files, file)
            for file in stated.home if places.with_keys else ():
                _put_private(folder / HOME / file.name, places.home.root / file.name, file)
            for name, file in stated.databases.items():
                if name in places.by_name:
                    postgres.replace(places.by_name[name], folder / file.name)
                else:
                    sqlite.replace(places.home.root / name, folder / file.name)
    return stated


def _stated(places: Places, folder: Path) -> Backup:
    try:
        stated = Backup.model_validate_json((folder / STATED).read_bytes())
    except ValidationError as error:
        raise IntegrityError(f"{folder / STATED} is damaged: {error}") from error
    held = ", ".join(stated.databases)
    if places.urls and places.by_name.keys() != stated.databases.keys():
        raise ConfigError(f"the backup holds {held}, and {', '.join(places.by_name)} were given")
    if not places.urls and not all(name.endswith(".db") for name in stated.databases):
        raise ConfigError(f"the backup holds {held} of Postgres: name their URLs by --database")
    return stated


def _require_ready(places: Places, folder: Path, stated: Backup) -> None:
    """Check that every database can be replaced, before any is."""
    for name, file in stated.databases.items():
        if name in places.by_name:
            postgres.ready(places.by_name[name], folder / file.name)
        else:
            sqlite.ready(places.home.root / name)


def _put(source: Path, files: UPath, stated: FileEntry) -> None:
    """Put a file of models in its place; what was there is replaced as a whole."""
    target = files / stated.name  # checked by `Backup`
    with storage_errors(target):
        if isinstance(target, Path):
            _put_file(source, target, stated)
        else:  # by itself: `atomic_file` would copy it to the scratch folder first
            files.fs.put_file(str(source), path_in(files, stated.name))


def _put_private(source: Path, target: Path, stated: FileEntry) -> None:
    """Put a key or the notices in their place; others that were there are kept beside."""
    with private():
        if target.is_file() and file_entry(target).sha256 != stated.sha256:
            former = target.with_name(f"{target.name}.former")
            shutil.copyfile(target, former)
            logger.warning("%s differed from the backup's; it is kept as %s", target, former.name)
        _put_file(source, target, stated)


def _put_file(source: Path, target: Path, stated: FileEntry) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, atomic_file(target) as file:
        shutil.copyfileobj(read, file, BLOCK)
        if file.entry.sha256 != stated.sha256:
            raise IntegrityError(f"{source} has changed since it was checked; restore again")

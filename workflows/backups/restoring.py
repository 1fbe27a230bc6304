"""restoring: puts a backup in the place of what is there.

Promises  every file of the backup is compared with its checksum, every place is looked at and every
          database rehearses its replacement before anything changes. Models' files come first:
          whatever a restored version names is there. Each database is replaced as a whole. Killed
          in the middle, it is run again.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

from pydantic import ValidationError
from upath import UPath

from pipelines.store.files import FileEntry, atomic_file, file_entry, storage_errors, store_file
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError, IntegrityError
from workflows.backups import postgres, sqlite
from workflows.backups.contents import FILES, HOME, STATED, Backup, database_in, file_in, verify
from workflows.backups.guards import alone, private
from workflows.backups.places import FORMER, Places, path_in

logger = logging.getLogger(__name__)


def restore(places: Places, folder: Path) -> Backup:
    """Put a backup in the place of what is there.

    Files that the backup does not have stay where they are.

    Raises:
        ConfigError: no finished backup, or one of other databases; a run or another command uses
            the home.
        InputError: a link in the home or among the models' files leads out of it; nothing was
            changed.
        IntegrityError: a file is damaged; nothing was changed.
        StorageError: a file cannot be read or written.
        VitlensError: a database is in use or cannot be replaced by this role, and nothing was
            changed; or it refuses, and is as it was, while those named before it are restored.
    """
    folder = Path(os.path.realpath(folder))  # the lock lies beside it, also for `.` and a link
    with storage_errors(folder):
        if not (folder / STATED).exists():
            raise ConfigError(f"{folder} is no finished backup: expected {STATED} in it")
        with alone(folder.parent, only_known=True):
            stated = _stated(places, folder)
            verify(folder, stated)
            with nullcontext() if places.urls else places.home.lock("vitlens restore"):
                _require_ready(places, folder, stated)
                _put_back(places, folder, stated)
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
    """Check that every file and every database can be replaced, before any is."""
    for file in stated.files:
        path_in(places.files, file.name)
    for file in stated.home if places.with_keys else ():
        resolve_inside(places.home.root, file.name)
    for name, file in stated.databases.items():
        if name in places.by_name:
            postgres.ready(places.by_name[name], database_in(folder, file))
        else:
            sqlite.ready(resolve_inside(places.home.root, name))


def _put_back(places: Places, folder: Path, stated: Backup) -> None:
    for file in stated.files:
        _put(file_in(folder, FILES, file), places.files, file)
    for file in stated.home if places.with_keys else ():
        target = resolve_inside(places.home.root, file.name)
        _put_private(file_in(folder, HOME, file), target, file)
    for name, file in stated.databases.items():
        dump = database_in(folder, file)
        if name in places.by_name:
            postgres.replace(places.by_name[name], dump)
        else:
            sqlite.replace(resolve_inside(places.home.root, name), dump)


def _put(source: Path, files: UPath, stated: FileEntry) -> None:
    """Put a file of models in its place; what was there is replaced as a whole."""
    target = path_in(files, stated.name)
    with storage_errors(files / stated.name):
        if isinstance(files, Path):
            _put_file(source, Path(target), stated)
        else:  # by itself: `atomic_file` would copy it to the scratch folder first
            files.fs.put_file(str(source), target)


def _put_private(source: Path, target: Path, stated: FileEntry) -> None:
    """Put a key or the notices in their place; others that were there are kept beside."""
    with private():
        there = file_entry(target) if target.is_file() else stated
        if there.sha256 != stated.sha256:
            # By its content: no other key that was kept before has this name.
            former = target.with_name(f"{target.name}.{there.sha256[:16]}{FORMER}")
            store_file(target, former)
            logger.warning("%s differed from the backup's; it is kept as %s", target, former.name)
        _put_file(source, target, stated)


def _put_file(source: Path, target: Path, stated: FileEntry) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, atomic_file(target) as file:
        shutil.copyfileobj(read, file)
        if file.entry.sha256 != stated.sha256:
            raise IntegrityError(f"{source} has changed since it was checked; restore again")

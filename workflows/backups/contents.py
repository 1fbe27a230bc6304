"""contents: what a backup holds, as its `backup.json` states it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipelines.store.files import FileEntry, file_entry
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import InputError, IntegrityError
from workflows.tables import size

STATED = "backup.json"
FILES, HOME = "files", "home"
_OF_HOME = re.compile(r"notices\.yaml|keys/[^/]+")


class Backup(BaseModel):
    """What a backup holds."""

    model_config = ConfigDict(frozen=True)

    databases: dict[str, FileEntry] = Field(description="dump by the database's name")
    files: tuple[FileEntry, ...] = Field(description="files of models; `name` is their path")
    home: tuple[FileEntry, ...] = Field((), description="keys and notices; `name` is their path")

    @field_validator("home")
    @classmethod
    def _are_keys_or_notices(cls, home: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        for entry in home:
            if not _OF_HOME.fullmatch(entry.name):
                raise ValueError(f"{entry.name[:80]!r} is none of the home's keys and notices")
        return home

    @property
    def size_bytes(self) -> int:
        entries = chain(self.databases.values(), self.files, self.home)
        return sum(entry.size_bytes for entry in entries)

    def __str__(self) -> str:
        return (
            f"databases: {len(self.databases):,}, files of models: {len(self.files):,}, "
            f"keys and notices: {len(self.home):,}, in all {size(self.size_bytes)}"
        )


def database_in(folder: Path, entry: FileEntry) -> Path:
    """Return a dump of a backup (`InputError`: its name or a link leads out of the folder)."""
    return resolve_inside(folder, entry.name)


def file_in(folder: Path, part: str, entry: FileEntry) -> Path:
    """Return a file of a part of a backup, FILES or HOME; errors as `database_in`."""
    return resolve_inside(resolve_inside(folder, part), entry.name)


def verify(folder: Path, stated: Backup) -> None:
    """Compare every file of a backup with its checksum.

    Raises:
        IntegrityError: one differs or is missing, or a name or a link leads out of the folder.
    """
    try:
        for name in stated.databases:
            resolve_inside(folder, name)  # the path of a home's database in it
        files = list(_files(folder, stated))
    except InputError as error:
        raise IntegrityError(f"{folder / STATED}: {error}") from error
    for path, file in files:
        present = file_entry(path) if path.is_file() else None
        if present is None or present.sha256 != file.sha256:
            state = "is missing" if present is None else "differs from its checksum"
            raise IntegrityError(f"{path} {state}; nothing was changed: take another backup")


def _files(folder: Path, stated: Backup) -> Iterator[tuple[Path, FileEntry]]:
    for file in stated.databases.values():
        yield database_in(folder, file), file
    for part, held in ((FILES, stated.files), (HOME, stated.home)):
        for file in held:
            yield file_in(folder, part, file), file

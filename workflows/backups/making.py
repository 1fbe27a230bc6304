"""making: makes a backup, and removes older ones once it is whole."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from upath import UPath

from pipelines.store.files import FileEntry, atomic_file, file_entry, storage_errors, write_atomic
from pipelines.store.shards import encode_model
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError, InputError, StorageError
from workflows.backups import postgres, sqlite
from workflows.backups.contents import FILES, HOME, STATED, Backup, verify
from workflows.backups.guards import alone, private
from workflows.backups.last import tell
from workflows.backups.places import Places, path_in

_UNFINISHED = ".unfinished"
_FINISHED = re.compile(r"\d{8}-\d{6}")
_LEFT = re.compile(rf"{_FINISHED.pattern}{re.escape(_UNFINISHED)}")  # by a killed backup
_BLOCK = 1 << 20


def back_up(places: Places, into: Path, keep: int | None = None) -> tuple[Path, Backup]:
    """Make a backup in a new folder of `into`; return the folder and what it holds.

    Args:
        keep: how many finished backups stay, the new one among them; older ones, and what killed
            backups left, are removed. None removes nothing.

    Raises:
        ConfigError: there is no database, or no folder of models' files where one was named;
            nothing was written or removed.
        InputError: a link in the home or among the models' files leads out of it.
        StorageError: files cannot be read, or the backup cannot be written.
        VitlensError: a database cannot be read; the message is its own. Another backup is being
            made in `into`.
    """
    with private(), storage_errors(into):
        places.require_databases()
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
    tell(places.home.store, stated.size_bytes)
    return folder, stated


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
        found = source.fs.find(source.path, detail=True)
    names = sorted(
        path.removeprefix(source.path).lstrip("/")
        for path, about in found.items()
        # Consoles of object stores make an empty object `a/` for a folder `a`.
        if about["size"] or not path.endswith("/")
    )
    for name in names:
        if not _is_path(name):
            raise StorageError(f"{source}: no file can be called {name[:200]!r}; rename it there")
    return names


def _is_path(key: str) -> bool:
    """Whether a key of an object store is the plain path of a file in a folder."""
    with suppress(InputError):
        return str(resolve_inside(Path("/"), key)) == f"/{key}"
    return False


def _copy(source: UPath, name: str, folder: Path) -> FileEntry:
    """Copy a file, by its path in a folder, to the same path in another."""
    target = resolve_inside(folder, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(target) as file:
        for block in _blocks(source, name):
            file.write(block)
    return file.entry.model_copy(update={"name": name})


def _blocks(source: UPath, name: str) -> Iterator[bytes]:
    with storage_errors(source / name), source.fs.open(path_in(source, name), "rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _finished(into: Path) -> list[Path]:
    """Return the finished backups of a folder, the oldest first."""
    return [folder for folder in _folders(into, _FINISHED) if (folder / STATED).is_file()]


def _folders(into: Path, name: re.Pattern[str]) -> list[Path]:
    found = [path for path in into.iterdir() if name.fullmatch(path.name)]
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _remove_unfinished(into: Path) -> None:
    for folder in _folders(into, _LEFT):
        shutil.rmtree(folder)

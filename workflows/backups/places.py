"""places: where the databases, the models' files and the keys of a backup come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from upath import UPath

from pipelines.store.files import names_in, opened_place
from pipelines.store.home import Home
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError
from workflows.backups import postgres

FORMER = ".former"  # ends the name of a key that a restore replaced
_LOCAL = {"", "file", "local"}  # protocols of fsspec


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

    @cached_property
    def files(self) -> UPath:
        """The folder of the models' files; a local one is an absolute path."""
        folder = opened_place(self.given or self.home.root / "mlartifacts", "--files")
        return UPath(Path(folder.path).absolute()) if folder.protocol in _LOCAL else folder

    def own(self) -> Iterator[tuple[str, Path]]:
        """Yield the home's databases by their path in it: those of MLflow and of Dagster."""
        root = self.home.root
        of_dagster = [(root / "dagster" / part).rglob("*.db") for part in ("history", "schedules")]
        for path in (root / "mlflow.db", *sorted(chain(*of_dagster))):
            if path.is_file():
                name = path.relative_to(root).as_posix()
                yield name, resolve_inside(root, name)

    def of_home(self) -> list[str]:
        """Return the paths of the home's keys and notices in it."""
        keys = names_in(UPath(self.home.root, "keys")) if self.with_keys else ()
        names = [f"keys/{name}" for name in sorted(keys) if not name.endswith((".tmp", FORMER))]
        names += ["notices.yaml"] if self.with_keys else []
        return [name for name in names if (self.home.root / name).is_file()]

    def require_databases(self) -> None:
        """Refuse a home without databases, which is most likely another than was meant.

        Raises:
            ConfigError: no URL was given, and the home has no database.
        """
        if not self.urls and next(self.own(), None) is None:
            raise ConfigError(
                f"{self.home.root} has no database of MLflow or Dagster: name the home to back up "
                "in VITLENS_HOME, or databases of Postgres by --database"
            )


def path_in(folder: UPath, name: str) -> str:
    """Return the path by which a folder's file system knows a file in it.

    Raises:
        InputError: the name or a link leads out of a folder of this machine.
    """
    if isinstance(folder, Path):
        return str(resolve_inside(folder, name))
    return f"{folder.path.rstrip('/')}/{name}"

"""Copy the databases of MLflow and Dagster, the models' files and the home's keys to a folder."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.store.home import Home
from workflows.backups.making import back_up
from workflows.backups.places import Places

DATABASES = click.option(
    "--database",
    "databases",
    multiple=True,
    metavar="URL",
    envvar="VITLENS_DATABASES",
    help="postgresql://user@host/name; repeat. By default the home's own databases.",
)
FILES = click.option(
    "--files",
    metavar="FOLDER|URL",
    envvar="VITLENS_MODEL_FILES",
    help="Where MLflow keeps the models' files. By default the home's mlartifacts.",
)
KEYS = click.option(
    "--keys/--no-keys",
    default=True,
    show_default=True,
    help="With the home's keys/ and notices.yaml, or without.",
)


@click.command("backup")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@DATABASES
@FILES
@KEYS
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Remove all but the newest N backups of FOLDER, and what killed ones left, when the new "
    "one is finished. By default all stay.",
)
def command(
    folder: Path, databases: tuple[str, ...], files: str | None, keys: bool, keep: int | None
) -> None:
    """Copy the databases of MLflow and Dagster, the models' files and the home's keys to a folder.

    It becomes a folder of FOLDER, for this user only. Stop nothing for it. Artifacts of the store
    are not copied: a run makes them again. The folder's path is printed, and beside it, on standard
    error, what it holds.
    """
    places = Places(Home.from_environment(), databases, files, keys)
    made, stated = back_up(places, folder, keep)
    click.echo(stated, err=True)
    click.echo(made)  # alone on standard output, for scripts

"""Copy the databases of MLflow and Dagster and the models' files to a folder."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.store.home import Home
from workflows.backup import back_up, places_of

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


@click.command("backup")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@DATABASES
@FILES
def command(folder: Path, databases: tuple[str, ...], files: str | None) -> None:
    """Copy the databases of MLflow and Dagster and the models' files to a folder of FOLDER.

    Stop nothing for it. Artifacts of the store are not copied: a run makes them again.
    """
    made = back_up(places_of(Home.from_environment(), databases, files), folder)
    click.echo(made)

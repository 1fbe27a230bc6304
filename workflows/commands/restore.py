"""Put a backup in the place of the databases and models' files that are there."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.store.home import Home
from workflows.backup import places_of, restore
from workflows.commands.backup import DATABASES, FILES


@click.command("restore")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@DATABASES
@FILES
def command(folder: Path, databases: tuple[str, ...], files: str | None) -> None:
    """Put the backup in FOLDER in the place of the databases and models' files that are there.

    Stop MLflow and Dagster first. Every file of the backup is checked before anything changes.
    """
    stated = restore(places_of(Home.from_environment(), databases, files), folder)
    click.echo(f"restored {', '.join(stated.databases)} and {len(stated.files):,} files")

"""Put a backup in the place of the databases, models' files and keys that are there."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.store.home import Home
from workflows.backups.places import Places
from workflows.backups.restoring import restore
from workflows.commands.backup import DATABASES, FILES, KEYS


@click.command("restore")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@DATABASES
@FILES
@KEYS
def command(folder: Path, databases: tuple[str, ...], files: str | None, keys: bool) -> None:
    """Put the backup in FOLDER in the place of the databases, models' files and keys there.

    Stop MLflow and Dagster first. Every file of the backup is checked before anything changes.
    """
    stated = restore(Places(Home.from_environment(), databases, files, keys), folder)
    click.echo(f"restored {stated}")

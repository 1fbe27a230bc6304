"""Put a backup in the place of the databases, models' files and keys that are there."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.store.home import Home
from workflows.backup import Places
from workflows.commands.backup import DATABASES, FILES, KEYS
from workflows.restore import restore


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
    click.echo(f"restored {', '.join(stated.databases)} and {len(stated.files):,} files")

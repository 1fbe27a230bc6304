"""Write a registered version as one file, to be kept or imported elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.registry import archive
from pipelines.registry.version import CHAMPION
from workflows.registered import find_version
from workflows.tables import size


@click.command("export")
@click.argument("modality")
@click.argument("version", default=CHAMPION)
@click.option("--to", "path", type=click.Path(path_type=Path), help="The file; by default here.")
def command(modality: str, version: str, path: Path | None) -> None:
    """Write a registered version as one file, to be kept or imported elsewhere."""
    home, model = find_version(modality, version)
    path = path or Path(f"{model.name}-{model.version}.tar")
    contents = archive.export(home, model, path)
    click.echo(
        f"{path}: {model.name} version {model.version}, {len(contents.files)} files, "
        f"{size(path.stat().st_size)}"
    )

"""Register a version from a file of `vitlens export`; it carries code: trust its origin."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.registry import archive
from pipelines.store.home import Home


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path))
def command(path: Path) -> None:
    """Register a version from a file of `vitlens export`; it carries code: trust its origin.

    MLflow runs the code that lies in a model; `vitlens_core.load` reads its weights only.
    """
    model = archive.import_(Home.from_environment().root, path)
    modality = model.name.removeprefix("vitlens-")
    click.echo(
        f"{model.name} version {model.version} is challenger; its gates were checked elsewhere, so "
        f"that `vitlens promote {modality} --force --why …` makes it champion"
    )

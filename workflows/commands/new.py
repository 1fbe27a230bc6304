"""Add a working modality: its science, its workflow and its test."""

from __future__ import annotations

from pathlib import Path

import click

from workflows import scaffold


@click.command("new")
@click.argument("name")
@click.option("--description", metavar="LINE", help="What it is, for the UI.")
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    help="The source checkout to add to; by default the one that runs.",
)
def command(name: str, description: str | None, into: Path | None) -> None:
    """Add a modality that works as it is: its science, its workflow and its test."""
    root = scaffold.checkout(into) if into else scaffold.checkout()
    for path in scaffold.create(root, name, description):
        click.echo(f"wrote {path}")
    click.echo(
        f"in {root}; the places to adapt for {name} are marked CHANGE\n"
        f"check  python -m pytest tests/contracts tests/vitlens_core/modalities -k {name}\n"
        f"run    vitlens run {name} --profile tiny --set source.root=FOLDER\n"
        "       FOLDER holds your files and manifest.csv: signal, image, text, label, split"
    )

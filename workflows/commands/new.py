"""Add a working modality: its science, its workflow and its test."""

from __future__ import annotations

import click

from workflows.scaffold import checkout, create


@click.command("new")
@click.argument("name")
@click.option("--description", metavar="LINE", help="What it is, for the UI.")
def command(name: str, description: str | None) -> None:
    """Add a working modality: its science, its workflow and its test."""
    root = checkout()
    for path in create(root, name, description):
        click.echo(f"wrote {path}")
    click.echo(
        f"in {root}; the places to adapt for {name} are marked CHANGE\n"
        f"check  python -m pytest tests/contracts tests/vitlens_core/modalities -k {name}\n"
        f"run    vitlens run {name} --profile tiny --set source.root=FOLDER\n"
        "       FOLDER holds your files and manifest.csv: signal, image, text, label, split"
    )

"""Make a version champion."""

from __future__ import annotations

import click

from pipelines.registry import promotion
from pipelines.registry.version import CHALLENGER
from workflows.registered import WHY, find_version


@click.command("promote")
@click.argument("modality")
@click.argument("version", default=CHALLENGER)
@WHY
@click.option("--force", is_flag=True, help="Promote although a gate failed.")
def command(modality: str, version: str, why: str, force: bool) -> None:
    """Make a version champion: a number, or an alias (by default `challenger`)."""
    home, model = find_version(modality, version)
    promoted = promotion.promote(home, model.name, model.version, why, force=force)
    click.echo(f"{promoted.name} version {promoted.version} is champion")

"""Make the previous champion champion again."""

from __future__ import annotations

import click

from pipelines.registry import promotion
from pipelines.registry.version import CHAMPION
from workflows.registered import WHY, find_version


@click.command("rollback")
@click.argument("modality")
@WHY
def command(modality: str, why: str) -> None:
    """Make the previous champion champion again."""
    home, model = find_version(modality, CHAMPION)
    back = promotion.rollback(home, model.name, why)
    click.echo(f"{back.name} version {back.version} is champion again, {model.version} previous")

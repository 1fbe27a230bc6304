"""Show what runs when its data set has changed, or switch one on or off."""

from __future__ import annotations

import click

from workflows.spec import Sensor
from workflows.turning import STATE, show_or_turn
from workflows.workplace import Workplace


@click.command("sensor")
@click.argument("modality", required=False)
@STATE
@click.pass_obj
def command(workplace: Workplace | None, modality: str | None, state: str | None) -> None:
    """Show what runs when its data set has changed, or switch one on or off."""
    show_or_turn(workplace, Sensor, modality, state)

"""List every promotion and rollback: what, who, when and why."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from pipelines.registry import promotion
from pipelines.store.home import Home
from workflows.registered import known_versions
from workflows.text import shown


@click.command("history")
@click.argument("modality")
def command(modality: str) -> None:
    """List every promotion and rollback: what, who, when and why."""
    home = Home.from_environment().root
    name = known_versions(home, modality)[0].name
    table = Table("when", "what", "champion", "before", "who", "why", title=name)
    for move in promotion.history(home, name):
        what = f"{move.action} [red](forced)[/]" if move.forced else move.action
        before = "–" if move.before is None else str(move.before)
        cells = (what, str(move.version), before, shown(move.who), shown(move.why))
        table.add_row(f"{move.at:%Y-%m-%d %H:%M:%S}Z", *cells)
    Console().print(table)

"""List every promotion and rollback: what, who, when and why."""

from __future__ import annotations

import click
from rich.console import Console

from pipelines.registry import promotion
from pipelines.store.home import Home
from workflows.registered import known_versions
from workflows.tables import JSON, echo_json, plain_table
from workflows.text import shown


@click.command("history")
@click.argument("modality")
@JSON
def command(modality: str, as_json: bool) -> None:
    """List every promotion and rollback: what, who, when and why."""
    home = Home.from_environment().root
    name = known_versions(home, modality)[0].name
    moves = promotion.history(home, name)
    if as_json:
        echo_json(moves)
        return
    table = plain_table("when", "what", "champion", "who", "why", title=name)
    for move in moves:
        what = f"{move.action} [red](forced)[/]" if move.forced else move.action
        before = "–" if move.before is None else str(move.before)
        champion = f"{before} → {move.version}"
        cells = (what, champion, shown(move.who), shown(move.why))
        table.add_row(f"{move.at:%Y-%m-%d %H:%M}Z", *cells)
    Console().print(table)

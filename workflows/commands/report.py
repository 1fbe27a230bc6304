"""Print the path of the latest report."""

from __future__ import annotations

import click

from pipelines.store.home import Home
from vitlens_core.errors import ConfigError


@click.command("report")
@click.option("--open", "opened", is_flag=True, help="Open it in the browser.")
def command(opened: bool) -> None:
    """Print the path of the latest report."""
    page = Home.from_environment().latest / "report.html"
    if not page.exists():
        raise ConfigError(f"no report at {page} yet: `vitlens run MODALITY` makes one")
    click.echo(page)
    if opened:
        click.launch(page.as_uri())

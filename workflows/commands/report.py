"""Print the path of a report: the latest, or that of a registered version."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.registry.version import CHAMPION
from pipelines.report.content import PAGE_FILE
from pipelines.store.home import Home
from vitlens_core.errors import ConfigError
from workflows.registered import find_version


@click.command("report")
@click.argument("modality", required=False)
@click.argument("version", default=CHAMPION)
@click.option("--open", "opened", is_flag=True, help="Open it in the browser.")
def command(modality: str | None, version: str, opened: bool) -> None:
    """Print the path of a report: the latest, or that of a registered version."""
    page = _page(modality, version)
    if not page.exists():
        raise ConfigError(f"no report at {page} yet: `vitlens run MODALITY` makes one")
    click.echo(page)
    if opened:
        click.launch(page.as_uri())


def _page(modality: str | None, version: str) -> Path:
    home = Home.from_environment()
    if modality is None:
        return home.latest / PAGE_FILE
    _, model = find_version(modality, version)
    return home.report_folder(model.evaluation) / PAGE_FILE

"""Show what a run would take: objects, samples, bytes, hours, cost, memory, and what is missing."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from workflows.planning.plan import plan_of
from workflows.planning.show import show
from workflows.planning.slopes import read_slopes
from workflows.spec import DEFAULT_PROFILE, load_workflow
from workflows.tables import JSON, echo_json
from workflows.workplace import Workplace


@click.command("plan")
@click.argument("modality")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Settings to plan.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Change one setting.")
@click.option(
    "--slopes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Your own speeds and prices, in the form of workflows/planning/slopes.yaml.",
)
@JSON
@click.pass_obj
def command(
    workplace: Workplace | None,
    modality: str,
    profile: str,
    overrides: tuple[str, ...],
    slopes: Path | None,
    as_json: bool,
) -> None:
    """Show what a run would take: objects, samples, bytes, hours, cost, and what is missing."""
    workplace = workplace or Workplace.from_environment()
    figures = read_slopes(slopes)
    plan = plan_of(load_workflow(modality), profile, overrides, workplace.home, figures)
    if as_json:
        echo_json(plan)
        return
    show(Console(), plan)

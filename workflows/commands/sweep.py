"""Train and evaluate with one setting varied; no lens is registered."""

from __future__ import annotations

import sys
import time

import click
from rich.console import Console

from workflows import sweep as sweeps
from workflows.axes import AXES
from workflows.console import log_line, pointing_to, quiet_terminal, remark
from workflows.exit_codes import FAILED
from workflows.spec import DEFAULT_PROFILE, load_workflow
from workflows.summary import show_sweep
from workflows.workplace import Workplace


@click.command("sweep")
@click.argument("modality")
@click.option("--axis", required=True, metavar="|".join(AXES), help="What to vary.")
@click.option("--values", metavar="A,B,C", help="Values to try; by default the axis proposes some.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Trainings of each value; from 2 on, means with intervals over them.",
)
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Settings to vary.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Change one setting.")
@click.pass_obj
def command(
    workplace: Workplace | None,
    modality: str,
    axis: str,
    values: str | None,
    seeds: int,
    profile: str,
    overrides: tuple[str, ...],
) -> None:
    """Train and evaluate with one setting varied; no lens is registered."""
    plan = sweeps.plan(load_workflow(modality), profile, overrides, axis, values, seeds)
    workplace = workplace or Workplace.from_environment()
    log = workplace.home.logs() / f"{modality}-{axis}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    with (
        workplace.home.lock(f"a sweep of {modality} over {axis}", remark),
        quiet_terminal(log),
        pointing_to(log),
    ):
        folder = sweeps.run(workplace, plan, log)
    has_failed = show_sweep(Console(), folder)
    click.echo(log_line(log))
    if has_failed:
        sys.exit(FAILED)

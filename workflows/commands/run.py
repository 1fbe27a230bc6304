"""Run a workflow from objects to a registered lens; finished steps are reused."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from workflows.console import pointing_to, quiet_terminal, remark, show_plan
from workflows.dry_run import plan
from workflows.exit_codes import GATE_FAILED
from workflows.preflight import check
from workflows.spec import DEFAULT_PROFILE, load_workflow
from workflows.summary import show_summary, show_use
from workflows.workplace import Workplace

if TYPE_CHECKING:
    from workflows.runner import RunOutcome


@click.command("run")
@click.argument("modality")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Settings to run with.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Change one setting.")
@click.option("--dry-run", is_flag=True, help="Show what would be reused and made, and why.")
@click.option(
    "--wait/--no-wait", default=True, help="If another run works in the home: wait, or give up."
)
@click.pass_obj
def command(
    workplace: Workplace | None,
    modality: str,
    profile: str,
    overrides: tuple[str, ...],
    dry_run: bool,
    wait: bool,
) -> None:
    """Run a workflow from objects to a registered lens; finished steps are reused."""
    workflow = load_workflow(modality)
    workplace = workplace or Workplace.from_environment()
    for found in check(workflow, profile, overrides, workplace.home):
        remark(found)
    if dry_run:
        show_plan(Console(), plan(workplace, workflow, profile, overrides))
        return
    log = workplace.home.logs() / f"{modality}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    with (
        workplace.home.lock(f"a run of {modality}, profile {profile}", remark if wait else None),
        quiet_terminal(log),
    ):
        outcome = _execute(workplace, modality, profile, overrides, log)
    show_summary(Console(), workplace.home.latest)
    show_use(Console(), workplace.home.root, workplace.home.latest, log)
    if outcome is not outcome.CHAMPION:
        sys.exit(GATE_FAILED)


def _execute(
    workplace: Workplace, modality: str, profile: str, overrides: Sequence[str], log: Path
) -> RunOutcome:
    # Late: Dagster and torch take seconds to import, and settings are checked without them.
    from workflows.runner import execute

    with pointing_to(log):
        return execute(workplace, modality, profile, overrides)

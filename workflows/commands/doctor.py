"""Check everything that a run stands on, and say how to mend it."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict

import click
from rich.console import Console

from pipelines.store.home import Home
from workflows.doctor.checks import run_checks
from workflows.exit_codes import FAILED
from workflows.text import shown

_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "failed": "[red]failed[/] "}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="As a list of objects, for programs.")
def command(as_json: bool) -> None:
    """Check OpenGL, GPU, Ray, store, registry, Dagster, versions, space; say how to mend each.

    The exit code is 3 if a check failed; a warning stops no run.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # what clients warn of is a finding
    findings = run_checks(Home.from_environment())
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        console = Console(emoji=False)
        for each in findings:
            line = f"{each.check:<9} {_MARKS[each.state]} {shown(each.found)}"
            console.print(line, highlight=False, soft_wrap=True)
            if each.mend:
                console.print(f"{'':<18}{shown(each.mend)}", highlight=False, soft_wrap=True)
    if any(finding.state == "failed" for finding in findings):
        sys.exit(FAILED)

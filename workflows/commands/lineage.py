"""Show what a version was made of, its gates, and every evaluation of its lens."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from pipelines.evaluation.presenter import figure_name, fraction
from pipelines.registry import lineage as lineages
from pipelines.registry.models import CHAMPION
from workflows.console import MARKS
from workflows.registered import called, find_version
from workflows.text import shown


@click.command("lineage")
@click.argument("modality")
@click.argument("version", default=CHAMPION)
def command(modality: str, version: str) -> None:
    """Show what a version was made of, its gates, and every evaluation of its lens."""
    home, model = find_version(modality, version)
    lineage_of_version = lineages.lineage(home, model.name, model.version)
    console = Console()
    steps = Table(
        "step", "fingerprint", title=f"{model.name} version {model.version} {called(model)}"
    )
    for step, fingerprint in lineage_of_version.fingerprints.items():
        steps.add_row(step, fingerprint)
    steps.add_row(
        "foundation",
        f"{lineage_of_version.foundation_spec}, digest {lineage_of_version.foundation_digest}",
    )
    steps.add_row("code", lineage_of_version.code_revision or "not from a checkout")
    console.print(steps)
    for gate in lineage_of_version.gates:
        console.print(
            f"{gate.tier}: {gate.name} {MARKS[gate.outcome]}: {shown(gate.reason)}", soft_wrap=True
        )
    for evaluation in lineage_of_version.evaluations:
        figures = ", ".join(
            f"{figure_name(path.rpartition('.')[2])} {fraction(value)}"
            for path, value in evaluation.figures.items()
        )
        console.print(
            f"evaluated {evaluation.at:%Y-%m-%d %H:%M}Z {evaluation.fingerprint[:16]}: {figures}"
        )

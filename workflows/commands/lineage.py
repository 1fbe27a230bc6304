"""Show what a version was made of, its gates, and every evaluation of its lens."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from pipelines.flow import STEP_NAMES
from pipelines.registry import lineage as lineages
from pipelines.registry.lineage import Lineage
from pipelines.registry.registry import Registry
from pipelines.registry.version import CHAMPION, ModelVersion
from pipelines.report.content import PAGE_FILE
from pipelines.store.home import Home
from pipelines.store.text import printable
from workflows.console import MARKS
from workflows.registered import called, find_version
from workflows.tables import ALL, JSON, echo_json, figure_title, headlines, plain_table, with_bounds
from workflows.text import shown

_FINGERPRINT = 16  # characters shown, as the folder of the artifact is named


@click.command("lineage")
@click.argument("modality")
@click.argument("version", default=CHAMPION)
@ALL
@JSON
def command(modality: str, version: str, everything: bool, as_json: bool) -> None:
    """Show what a version was made of, its gates, and every evaluation of its lens."""
    home, model = find_version(modality, version)
    found = lineages.lineage(home, model.name, model.version)
    places = _places(home, model)
    if as_json:
        echo_json({**vars(found), "places": places})
    else:
        _show(Console(), found, everything)
        for what, place in places.items():
            # A line of its own, and never broken: it is to be opened.
            click.echo(f"{what}\n  {printable(place)}")


def _places(home: Path, model: ModelVersion) -> dict[str, str]:
    """Return where a version is shown: pages of MLflow, and its report if it lies in this home."""
    places = {f"{what} in MLflow": page for what, page in Registry(home).pages(model).items()}
    report = Home(home).report_folder(model.evaluation) / PAGE_FILE
    return {**places, "report": str(report)} if report.exists() else places


def _show(console: Console, found: Lineage, everything: bool) -> None:
    model = found.model
    console.print(f"[bold]{model.name}[/] version {model.version} {called(model)}", highlight=False)
    for name in headlines(found.figures):
        console.print(f"  {figure_title(name)} {with_bounds(found.figures, name)}")
    for gate in found.gates:
        line = f"  {gate.tier}: {gate.name} {MARKS[gate.outcome]}: {shown(gate.reason)}"
        console.print(line, highlight=False)
    table = plain_table("made of", "fingerprint")
    for step in sorted(found.fingerprints, key=_order):
        fingerprint = found.fingerprints[step]
        table.add_row(step, fingerprint if everything else fingerprint[:_FINGERPRINT])
    console.print(table)
    digest = found.foundation_digest if everything else found.foundation_digest[:_FINGERPRINT]
    console.print(f"foundation {shown(found.foundation_spec)}", highlight=False)
    console.print(f"  digest {digest}", highlight=False)
    console.print(f"code {found.code_revision or 'not from a checkout'}", highlight=False)
    for evaluation in found.evaluations:
        figures = ", ".join(
            f"{figure_title(path)} {value:.3f}" for path, value in evaluation.figures.items()
        )
        when = f"{evaluation.at:%Y-%m-%d %H:%M}Z"
        fingerprint = evaluation.fingerprint[:_FINGERPRINT]
        console.print(f"evaluated {when} {fingerprint}: {figures}", highlight=False)
    if everything:
        for name, value in sorted(found.config.items()):
            console.print(shown(f"{name}={value}"), highlight=False, soft_wrap=True)
    else:
        console.print(f"[dim]--all shows whole fingerprints and {len(found.config)} settings[/]")


def _order(step: str) -> int:
    return STEP_NAMES.index(step) if step in STEP_NAMES else len(STEP_NAMES)

"""Show two versions side by side: their figures, and how their making differs."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from pipelines.registry import lineage as lineages
from pipelines.registry.models import CHALLENGER, CHAMPION
from workflows.registered import called, find_version
from workflows.text import shown


@click.command("compare")
@click.argument("modality")
@click.argument("one", default=CHAMPION)
@click.argument("other", default=CHALLENGER)
def command(modality: str, one: str, other: str) -> None:
    """Show two versions side by side: their figures, and how their making differs."""
    home, a = find_version(modality, one)
    _, b = find_version(modality, other)
    comparison = lineages.compare(home, a.name, a.version, b.version)
    console = Console()
    titles = [f"version {model.version} {called(model)}".strip() for model in (a, b)]
    figures = Table("figure", *titles, "difference", title=a.name)
    for name, (left, right) in sorted(comparison.figures.items()):
        both = left is not None and right is not None
        figures.add_row(name, _number(left), _number(right), f"{right - left:+.4g}" if both else "")
    console.print(figures)
    if not comparison.same_samples:
        console.print(
            "[yellow]evaluated on different targets[/]: the figures also differ by data set"
        )
    for title, pairs in (("made of", comparison.steps), ("settings", comparison.settings)):
        if not pairs:
            continue
        table = Table("", *titles, title=f"{title}: what differs")
        for name, pair in pairs.items():
            table.add_row(name, *(shown(str(value or "–")[:40]) for value in pair))
        console.print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
